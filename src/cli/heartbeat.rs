//! `rollcall start-heartbeat`: keeps a user online until someone wants it to end.

mod address;

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{Account, AccountArgs};
use super::exit::{CommandError, REJECTED, SYSTEM};
use super::output::{CommandOutput, OutputArgs, print_note};
use super::password_input::PasswordArgs;
use super::signals::ShutdownSignals;
use super::text_table::Colour;
use address::HeartbeatAddr;
use rollcall_client::{AfterFailure, ClientError, HeartbeatEvent, HeartbeatInterval, HeartbeatTracker};
use rollcall_core::clock::{boot_now, wall_now};
use rollcall_core::escape::escape_controls;

/// How long one heartbeat is tried before it is said that nobody accepts it; then it is tried on.
const RETRY_TIMEOUT: Duration = Duration::from_secs(4);
/// Between two tries, each of which has its own pauses.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// Whoever was told to slow down does.
const REJECTED_RETRY_DELAY: Duration = Duration::from_secs(2);

/// The flags.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall start-heartbeat --username alice",
    "rollcall start-heartbeat --username alice --server http://localhost:3000 --interval 5",
    "rollcall start-heartbeat --username alice --addr auto:9000     # this machine's address, looked up at each beat",
]))]
pub(super) struct HeartbeatArgs {
    #[command(flatten)]
    account: AccountArgs,

    #[command(flatten)]
    password: PasswordArgs,

    /// Send a heartbeat every so many seconds [default: as the server suggests]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: Option<u64>,

    /// Where others reach the user: IP:PORT, :PORT for "my address as the server sees it", or auto:PORT for the address
    /// by which this machine reaches the server; auto alone takes the port of the registration [default: as before]
    #[arg(long, value_name = "ADDR", value_parser = HeartbeatAddr::parse)]
    addr: Option<HeartbeatAddr>,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: HeartbeatArgs) -> Result<(), CommandError> {
    let mut signals = ShutdownSignals::listen()
        .map_err(|error| CommandError::new(SYSTEM, format!("cannot listen for signals: {error}")))?;
    let output = CommandOutput::new(args.output);
    let password = args.password.optional(false)?;
    let mut account = args.account.with_saved_settings()?;
    if let Some(password) = password {
        account.client.log_in_on_demand(account.user.clone(), password);
    }
    let saved_port = account.settings.as_ref().and_then(rollcall_client::UserSettings::port);
    let addr = args.addr.map(|addr| addr.with_port(saved_port)).transpose()?;
    let interval = args
        .interval
        .map_or(HeartbeatInterval::Suggested, |seconds| HeartbeatInterval::Fixed(Duration::from_secs(seconds)));
    tokio::select! {
        failure = send_heartbeats(&mut account, addr, interval, output) => Err(failure),
        _ = signals.next() => {
            let name = &account.user.to_string();
            let ended = json!({"event": "stopped"});
            print(output, ended, &format!("{name} sends no more heartbeats"), Colour::Yellow, name)
        }
    }
}

/// Ends only with a reason to.
async fn send_heartbeats(
    account: &mut Account,
    addr: Option<HeartbeatAddr>,
    interval: HeartbeatInterval,
    output: CommandOutput,
) -> CommandError {
    let (first, name) = (account.client.clone(), account.user.to_string());
    let later = first.with_retry_timeout(RETRY_TIMEOUT);
    let mut tracker = HeartbeatTracker::default();
    let mut is_online = false;
    loop {
        let sent_at = Instant::now();
        // The first one waits for an election; a later one is soon said to be late.
        let client = if is_online { &later } else { &first };
        let current_addr = match &addr {
            Some(addr) => addr.resolve(client).await,
            None => None,
        };
        match client.heartbeat(&account.user, current_addr).await {
            Ok(accepted) => {
                let events = tracker.on_accepted(&accepted, client.leader(), boot_now().0);
                if !std::mem::replace(&mut is_online, true) && interval.exceeds_ttl(&accepted) {
                    let ttl = Duration::from_millis(accepted.ttl_ms);
                    print_note(&format!(
                        "hint: {name} will be offline between two heartbeats: the server waits {ttl:?} only"
                    ));
                }
                for event in &events {
                    if let Err(failure) = print_event(output, event, &name) {
                        return failure;
                    }
                    if matches!(event, HeartbeatEvent::Online { .. } | HeartbeatEvent::LeaderChanged { .. }) {
                        // Those that are left will be needed when this one goes.
                        client.learn_nodes().await;
                    }
                }
                // The user is online all the same.
                if let Err(failure) = account.save_new_token() {
                    print_note(&format!("hint: {failure}"));
                }
                sleep_until(sent_at + interval.delay(&accepted)).await;
            }
            Err(error) => {
                let next = tracker.on_failed(&error);
                match next {
                    AfterFailure::Stop => return stop_error(error, &name),
                    AfterFailure::Retry(None) => {}
                    AfterFailure::Retry(Some(event)) => {
                        if let Err(failure) = print_event(output, &event, &name) {
                            return failure;
                        }
                    }
                }
                let is_refused = matches!(error, ClientError::Rejected { .. });
                sleep(if is_refused { REJECTED_RETRY_DELAY } else { RETRY_DELAY }).await;
            }
        }
    }
}

fn stop_error(error: ClientError, name: &str) -> CommandError {
    match error {
        ClientError::Rejected { status: 401, message, .. } => {
            CommandError::new(REJECTED, format!("{message}; log in with: rollcall login --username {name}"))
        }
        error => error.into(),
    }
}

fn print_event(output: CommandOutput, event: &HeartbeatEvent, name: &str) -> Result<(), CommandError> {
    let or_nobody = |leader: &Option<String>| leader.clone().unwrap_or_else(|| "nobody".to_owned());
    let (line, colour) = match event {
        HeartbeatEvent::Online { message, leader, .. } => {
            (format!("{name} is online: {message} ({})", or_nobody(leader)), Colour::Green)
        }
        HeartbeatEvent::Moved { message } => (format!("{name} has another address: {message}"), Colour::Yellow),
        HeartbeatEvent::LeaderChanged { from, to } => {
            (format!("leader changed from {} to {}", or_nobody(from), or_nobody(to)), Colour::Yellow)
        }
        HeartbeatEvent::Unreachable { message } => {
            (format!("cannot reach the registry: {message}; trying on"), Colour::Red)
        }
        HeartbeatEvent::Recovered { after_ms } => (format!("back after {after_ms} ms"), Colour::Green),
    };
    let json = serde_json::to_value(event).expect("it has text keys only");
    print(output, json, &line, colour, name)
}

fn print(output: CommandOutput, mut json: Value, line: &str, colour: Colour, name: &str) -> Result<(), CommandError> {
    let at = wall_now().to_rfc3339();
    if output.is_json {
        json["username"] = name.into();
        json["at"] = at.into();
        return output.json(&json);
    }
    output.line(&format!("{at} {}", output.paint(colour, &escape_controls(line))))
}
