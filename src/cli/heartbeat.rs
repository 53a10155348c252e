//! `rollcall start-heartbeat`: keeps a user online until someone wants it to end.

mod address;

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{Account, AccountArgs};
use super::exit::{Failure, REFUSED, SYSTEM};
use super::output::{Output, OutputArgs, note};
use super::secret::PasswordArgs;
use super::signals::Signals;
use super::table::Colour;
use address::Address;
use rollcall_client::{HeartbeatEvent, HeartbeatTracker, ClientError, AfterFailure, HeartbeatInterval};
use rollcall_core::clock::{boot_now, wall_now};
use rollcall_core::escape::escape_controls;

/// How long one heartbeat is tried before it is said that nobody accepts it; then it is tried on.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two tries, each of which has its own pauses.
const PAUSE: Duration = Duration::from_millis(200);
/// Whoever was told to slow down does.
const LONG_PAUSE: Duration = Duration::from_secs(2);

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
    #[arg(long, value_name = "ADDR", value_parser = Address::parse)]
    addr: Option<Address>,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: HeartbeatArgs) -> Result<(), Failure> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::new(SYSTEM, format!("cannot listen for signals: {error}")))?;
    let output = Output::new(args.output);
    let password = args.password.optional(false)?;
    let mut account = args.account.resume()?;
    if let Some(password) = password {
        account.client.log_in_on_demand(account.user.clone(), password);
    }
    let kept_port = account.settings.as_ref().and_then(rollcall_client::UserSettings::port);
    let address = args.addr.map(|address| address.with_port(kept_port)).transpose()?;
    let interval = args.interval.map_or(HeartbeatInterval::Suggested, |seconds| HeartbeatInterval::Fixed(Duration::from_secs(seconds)));
    tokio::select! {
        failure = beat(&mut account, address, interval, output) => Err(failure),
        _ = signals.next() => {
            let name = &account.user.to_string();
            let ended = json!({"event": "stopped"});
            say(output, ended, &format!("{name} sends no more heartbeats"), Colour::Yellow, name)
        }
    }
}

/// Ends only with a reason to.
async fn beat(account: &mut Account, address: Option<Address>, interval: HeartbeatInterval, output: Output) -> Failure {
    let (patient, name) = (account.client.clone(), account.user.to_string());
    let quick = patient.with_retry_timeout(PATIENCE);
    let mut tracker = HeartbeatTracker::default();
    let mut has_begun = false;
    loop {
        let sent_at = Instant::now();
        // The first one waits for an election; a later one is soon said to be late.
        let client = if has_begun { &quick } else { &patient };
        let addr = match &address {
            Some(address) => address.now(client).await,
            None => None,
        };
        match client.heartbeat(&account.user, addr).await {
            Ok(accepted) => {
                let news = tracker.on_accepted(&accepted, client.leader(), boot_now().0);
                if !std::mem::replace(&mut has_begun, true) && interval.exceeds_ttl(&accepted) {
                    let ttl = Duration::from_millis(accepted.ttl_ms);
                    note(&format!(
                        "hint: {name} will be offline between two heartbeats: the server waits {ttl:?} only"
                    ));
                }
                for change in &news {
                    if let Err(failure) = tell(output, change, &name) {
                        return failure;
                    }
                    if matches!(change, HeartbeatEvent::Online { .. } | HeartbeatEvent::LeaderChanged { .. }) {
                        // Those that are left will be needed when this one goes.
                        client.learn_nodes().await;
                    }
                }
                // The user is online all the same.
                if let Err(failure) = account.keep_new_token() {
                    note(&format!("hint: {failure}"));
                }
                sleep_until(sent_at + interval.delay(&accepted)).await;
            }
            Err(error) => {
                let course = tracker.on_failed(&error);
                match course {
                    AfterFailure::Stop => return reason(error, &name),
                    AfterFailure::Retry(None) => {}
                    AfterFailure::Retry(Some(change)) => {
                        if let Err(failure) = tell(output, &change, &name) {
                            return failure;
                        }
                    }
                }
                let is_refused = matches!(error, ClientError::Rejected { .. });
                sleep(if is_refused { LONG_PAUSE } else { PAUSE }).await;
            }
        }
    }
}

fn reason(error: ClientError, name: &str) -> Failure {
    match error {
        ClientError::Rejected { status: 401, message, .. } => {
            Failure::new(REFUSED, format!("{message}; log in with: rollcall login --username {name}"))
        }
        error => error.into(),
    }
}

fn tell(output: Output, change: &HeartbeatEvent, name: &str) -> Result<(), Failure> {
    let or_nobody = |leader: &Option<String>| leader.clone().unwrap_or_else(|| "nobody".to_owned());
    let (line, colour) = match change {
        HeartbeatEvent::Online { message, leader, .. } => {
            (format!("{name} is online: {message} ({})", or_nobody(leader)), Colour::Green)
        }
        HeartbeatEvent::Moved { message } => (format!("{name} has another address: {message}"), Colour::Yellow),
        HeartbeatEvent::LeaderChanged { from, to } => {
            (format!("leader changed from {} to {}", or_nobody(from), or_nobody(to)), Colour::Yellow)
        }
        HeartbeatEvent::Unreachable { message } => (format!("cannot reach the registry: {message}; trying on"), Colour::Red),
        HeartbeatEvent::Recovered { after_ms } => (format!("back after {after_ms} ms"), Colour::Green),
    };
    let event = serde_json::to_value(change).expect("it has text keys only");
    say(output, event, &line, colour, name)
}

fn say(output: Output, mut event: Value, line: &str, colour: Colour, name: &str) -> Result<(), Failure> {
    let at = wall_now().to_rfc3339();
    if output.is_json {
        event["username"] = name.into();
        event["at"] = at.into();
        return output.json(&event);
    }
    output.line(&format!("{at} {}", output.paint(colour, &escape_controls(line))))
}
