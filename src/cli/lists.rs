//! `rollcall list-online`, `rollcall users` and `rollcall images`: lists of the registry as tables.

use clap::Args;
use serde_json::json;

use super::connection::ServerArgs;
use super::exit::CommandError;
use super::output::{CommandOutput, OutputArgs, print_note};
use super::text_table::{Colour, TextTable, pluralize};
use rollcall_core::api::User;
use rollcall_core::escape::escape_controls;
use rollcall_core::{Addr, Username};

/// Text of a table cell without a value.
const EMPTY_CELL: &str = "-";
/// Longest metadata shown in the table, in characters. Longer text is cut, because it would make
/// the table too wide.
const MAX_METADATA_CHARS: usize = 60;

/// Arguments of `list-online`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall list-online --server http://localhost:3000",
    "rollcall list-online --json | jq -r '.online_clients[].username'",
]))]
pub(super) struct OnlineArgs {
    #[command(flatten)]
    servers: ServerArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `users`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall users --server localhost:3000,localhost:3001",
    "rollcall users --json | jq '.users[] | select(.online | not)'",
]))]
pub(super) struct UsersArgs {
    #[command(flatten)]
    servers: ServerArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `images`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&["rollcall images --username alice"]))]
pub(super) struct ImagesArgs {
    /// Name of the user whose images to list
    #[arg(long, value_name = "NAME", value_parser = Username::parse)]
    username: Username,

    #[command(flatten)]
    servers: ServerArgs,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn online(args: OnlineArgs) -> Result<(), CommandError> {
    let output = CommandOutput::new(args.output);
    let online = args.servers.connect()?.online().await?;
    if output.is_json {
        return output.json(&json!({"online_clients": online.online_clients, "count": online.count}));
    }
    let mut table = TextTable::new(&["USERNAME", "ADDR"]);
    for client in &online.online_clients {
        table.row([(client.username.as_str(), None), (&addr(client.addr), None)]);
    }
    output.text(&table.render(output.is_coloured))?;
    print_note(&format!("{} online", pluralize(online.count, "client")));
    Ok(())
}

pub(super) async fn users(args: UsersArgs) -> Result<(), CommandError> {
    let output = CommandOutput::new(args.output);
    let users = args.servers.connect()?.users().await?;
    if output.is_json {
        return output.json(&users);
    }
    let mut table = TextTable::new(&["USERNAME", "STATUS", "ADDR", "LAST SEEN", "REGISTERED", "METADATA"]);
    for user in &users.users {
        let (status, colour) = if user.online { ("online", Some(Colour::Green)) } else { ("offline", None) };
        table.row([
            (user.username.as_str(), None),
            (status, colour),
            (&addr(user.addr), None),
            (user.last_seen.as_deref().unwrap_or(EMPTY_CELL), None),
            (&user.registered_at, None),
            (&metadata(user), None),
        ]);
    }
    output.text(&table.render(output.is_coloured))?;
    let online = users.users.iter().filter(|user| user.online).count();
    print_note(&format!("{} registered, {online} online", pluralize(users.count, "user")));
    Ok(())
}

pub(super) async fn images(args: ImagesArgs) -> Result<(), CommandError> {
    let output = CommandOutput::new(args.output);
    let images = args.servers.connect()?.images(&args.username).await?;
    if output.is_json {
        return output.json(&json!({"username": args.username, "images": images.images, "count": images.count}));
    }
    for image in &images.images {
        output.line(&escape_controls(image))?;
    }
    print_note(&format!("{} of {}", pluralize(images.count, "image"), args.username));
    Ok(())
}

fn addr(addr: Option<Addr>) -> String {
    addr.map_or_else(|| EMPTY_CELL.to_owned(), |addr| addr.to_string())
}

/// Text of the cell for a user's metadata: JSON, cut to [`MAX_METADATA_CHARS`].
fn metadata(user: &User) -> String {
    if user.metadata.is_empty() {
        return EMPTY_CELL.to_owned();
    }
    let json = serde_json::to_string(&user.metadata).expect("all keys are strings");
    let mut short: String = json.chars().take(MAX_METADATA_CHARS).collect();
    if short.len() < json.len() {
        short.push('…');
    }
    short
}
