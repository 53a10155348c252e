//! `rollcall register`: registers a user and saves its settings.

use clap::Args;
use serde_json::json;

use super::connection::AccountArgs;
use super::exit::{CommandError, USAGE};
use super::output::{CommandOutput, OutputArgs};
use super::password_input::PasswordArgs;
use rollcall_client::NewUser;
use rollcall_core::escape::escape_controls;
use rollcall_core::{AddrForm, Metadata, MetadataInput};

/// Arguments of `register`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall register --username alice --addr 10.40.6.26:9000",
    "rollcall register --username alice --password --server http://localhost:3000   # asks for a password",
    "rollcall register --username alice --password-file secret.txt --addr :9000",
    "rollcall register --username bot --metadata '{\"room\":\"kitchen\"}' --json",
]))]
pub(super) struct RegisterArgs {
    #[command(flatten)]
    account: AccountArgs,

    #[command(flatten)]
    password: PasswordArgs,

    /// Address at which other clients reach the user: IP:PORT, or :PORT for the IP address that the
    /// server sees
    #[arg(long, value_name = "ADDR", value_parser = AddrForm::parse)]
    addr: Option<AddrForm>,

    /// Public information about the user, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = parse_metadata)]
    metadata: Option<Metadata>,

    #[command(flatten)]
    output: OutputArgs,
}

fn parse_metadata(text: &str) -> Result<Metadata, String> {
    let form: MetadataInput = serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
    form.into_result().map_err(|invalid| invalid.to_string())
}

pub(super) async fn run(args: RegisterArgs) -> Result<(), CommandError> {
    let output = CommandOutput::new(args.output);
    let password = args.password.optional(true)?;
    if password.as_ref().is_some_and(|password| password.reveal().is_empty()) {
        return Err(CommandError::new(USAGE, "the password is empty; leave --password out to register without one"));
    }
    let mut account = args.account.without_saved_settings()?;
    let user = NewUser { username: account.user.clone(), addr: args.addr, password, metadata: args.metadata };
    let registered = account.client.register(&user).await?;
    let expires_at = registered.grant.as_ref().map(|grant| grant.token_expires_at.clone());
    let path = account.save_settings(|settings| {
        settings.token_expires_at.clone_from(&expires_at);
        settings.addr = args.addr.map(|addr| addr.to_string());
    })?;
    if output.is_json {
        return output.json(&json!({
            "username": account.user,
            "user_id": registered.user_id,
            "message": registered.message,
            "token_expires_at": expires_at,
            "settings": path,
        }));
    }
    output.line(&escape_controls(&registered.message))?;
    output.line(&escape_controls(&format!("Settings saved to {}", path.display())))
}
