//! `rollcall start-heartbeat`: sends heartbeats of a user until a signal or a final error.

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

/// Time for the retries of one heartbeat while the user is online. After that, the command reports
/// the failure and sends the next heartbeat.
const RETRY_TIMEOUT: Duration = Duration::from_secs(4);
/// Delay after a failed heartbeat. It is short, because the client has already waited between its
/// own attempts.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// Delay after a rejected heartbeat: the server may have limited the rate of requests.
const REJECTED_RETRY_DELAY: Duration = Duration::from_secs(2);

/// Arguments of `start-heartbeat`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall start-heartbeat --username alice",
    "rollcall start-heartbeat --username alice --server http://localhost:3000 --interval 5",
    "rollcall start-heartbeat --username alice --addr auto:9000     # finds this machine's address for each heartbeat",
]))]
pub(super) struct HeartbeatArgs {
    #[command(flatten)]
    account: AccountArgs,

    #[command(flatten)]
    password: PasswordArgs,

    /// Seconds between two heartbeats [default: the interval that the server suggests]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: Option<u64>,

    /// Address at which other clients reach the user: IP:PORT, :PORT for the IP address that the
    /// server sees, or auto:PORT for the local address of the connection to the server; auto alone
    /// uses the port of the registration [default: the address does not change]
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
            print(output, ended, &format!("stopped the heartbeats of {name}"), Colour::Yellow, name)
        }
    }
}

/// Sends heartbeats until an error that a retry cannot resolve, or until standard output is closed.
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
        // The first heartbeat has the full retry timeout, so that an election can end meanwhile.
        // The failure of a later one is reported sooner.
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
                        "hint: {name} will go offline between two heartbeats, because the TTL of the server is {ttl:?}; \
                         choose a shorter --interval"
                    ));
                }
                for event in &events {
                    if let Err(failure) = print_event(output, event, &name) {
                        return failure;
                    }
                    if matches!(event, HeartbeatEvent::Online { .. } | HeartbeatEvent::LeaderChanged { .. }) {
                        // Ask for the other nodes now: this leader may be down when they are
                        // needed.
                        client.learn_nodes().await;
                    }
                }
                // The user is online even if the token cannot be saved.
                if let Err(failure) = account.save_new_token() {
                    print_note(&format!("hint: {failure}"));
                }
                sleep_until(sent_at + interval.delay(&accepted)).await;
            }
            Err(error) => {
                let next = tracker.on_failed(&error);
                match next {
                    AfterFailure::Stop => return into_command_error(error, &name),
                    AfterFailure::Retry(None) => {}
                    AfterFailure::Retry(Some(event)) => {
                        if let Err(failure) = print_event(output, &event, &name) {
                            return failure;
                        }
                    }
                }
                let is_rejected = matches!(error, ClientError::Rejected { .. });
                sleep(if is_rejected { REJECTED_RETRY_DELAY } else { RETRY_DELAY }).await;
            }
        }
    }
}

fn into_command_error(error: ClientError, name: &str) -> CommandError {
    match error {
        ClientError::Rejected { status: 401, message, .. } => {
            CommandError::new(REJECTED, format!("{message}; log in with: rollcall login --username {name}"))
        }
        error => error.into(),
    }
}

fn print_event(output: CommandOutput, event: &HeartbeatEvent, name: &str) -> Result<(), CommandError> {
    let or_none = |leader: &Option<String>| leader.clone().unwrap_or_else(|| "none".to_owned());
    let (line, colour) = match event {
        HeartbeatEvent::Online { message, leader, .. } => {
            (format!("{name} is online: {message} ({})", or_none(leader)), Colour::Green)
        }
        HeartbeatEvent::Moved { message } => (format!("{name} has another address: {message}"), Colour::Yellow),
        HeartbeatEvent::LeaderChanged { from, to } => {
            (format!("leader changed from {} to {}", or_none(from), or_none(to)), Colour::Yellow)
        }
        HeartbeatEvent::Unreachable { message } => {
            (format!("cannot reach the registry: {message}; still trying"), Colour::Red)
        }
        HeartbeatEvent::Recovered { after_ms } => {
            (format!("heartbeats are accepted again after {after_ms} ms"), Colour::Green)
        }
    };
    let json = serde_json::to_value(event).expect("all keys are strings");
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
