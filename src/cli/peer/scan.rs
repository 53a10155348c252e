//! `rollcall peer scan`: lists the peers on this LAN and diagnoses why there are none.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::cli::exit::{CommandError, SYSTEM};
use crate::cli::output::{CommandOutput, OutputArgs};
use crate::cli::text_table::{Colour, TextTable, pluralize};
use rollcall_chat::engine::LAN_PORT;
use rollcall_chat::lan::findings::findings;
use rollcall_chat::lan::scan_result::{FoundBy, FoundPeer, ProbedAddress, ScanResult, SpokenDialects};
use rollcall_core::escape::escape_controls;

const AFTER_HELP: &str = "\
Examples:
  rollcall peer scan
  rollcall peer scan --wait 35    # also receives the announcements that peers send every 30 s
  rollcall peer scan --json | jq -r '.peers[].user_id'

Exit codes:
  0   scan done, with or without peers
  2   wrong command line
  71  cannot scan: no UDP port of 8000 to 9999 can be bound";

/// Flags of `rollcall peer scan`.
#[derive(Args, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct ScanArgs {
    /// Seconds to wait for answers, 1 to 120
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=120))]
    wait: u64,

    /// Query only these addresses, such as the broadcast address of one network, separated by
    /// commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    addresses: Vec<Ipv4Addr>,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: ScanArgs) -> Result<(), CommandError> {
    let wait = Duration::from_secs(args.wait);
    let scan = rollcall_chat::scan(wait, &args.addresses).await.map_err(|error| {
        CommandError::new(SYSTEM, format!("cannot scan: no UDP port of 8000 to 9999 can be bound: {error}"))
    })?;
    let output = CommandOutput::new(args.output);
    if output.is_json {
        return output.json(&json!({
            "asked_as": &scan.own_user,
            "port": scan.port,
            "shared_port": {"port": LAN_PORT, "refusal": &scan.shared_port_failure},
            "asked": &scan.probed,
            "peers": scan.peers().collect::<Vec<_>>(),
            "findings": findings(&scan),
        }));
    }
    output.text(&report(&scan, wait, output))
}

fn report(scan: &ScanResult, wait: Duration, output: CommandOutput) -> String {
    let mut text = String::new();
    let peers = pluralize(scan.peers().len(), "peer");
    let _ =
        writeln!(text, "{peers} on this LAN; queried as {}, waited {} s for answers", scan.own_user, wait.as_secs());
    if scan.peers().len() > 0 {
        text.push_str(&peer_table(scan).render(output.is_coloured));
    }
    let shared = match &scan.shared_port_failure {
        None => "shared with other peers: announcements can be received".to_owned(),
        Some(failure) => format!("not available: {}", failure.text),
    };
    let _ = writeln!(text, "\nUDP port {LAN_PORT}: {shared}\nUDP port {}: receives the answers\n", scan.port);
    text.push_str(&address_table(scan).render(output.is_coloured));
    for finding in findings(scan) {
        // Names of peers can contain escape sequences of the terminal.
        let _ = writeln!(text, "\n! {}\n  -> {}", escape_controls(&finding.text), escape_controls(&finding.remedy));
    }
    text
}

fn peer_table(scan: &ScanResult) -> TextTable {
    let mut table = TextTable::new(&["NAME", "USER ID", "ADDRESS", "DIALECT", "FOUND BY"]);
    for FoundPeer { user_id, name, address, dialect, found_by, mismatched } in scan.peers() {
        let address = address.to_string();
        let dialect = match dialect {
            SpokenDialects::Compact => "compact",
            SpokenDialects::Spaced => "spaced",
            SpokenDialects::Both => "both",
        };
        let found_by = match found_by {
            FoundBy::Answer => "answer",
            FoundBy::Announcement => "announcement",
            FoundBy::Message => "message",
        };
        let colour = mismatched.then_some(Colour::Yellow);
        let cells = [name.as_str(), user_id.as_str(), &address, dialect, found_by];
        table.row(cells.into_iter().zip([None, None, colour, None, None]));
    }
    table
}

fn address_table(scan: &ScanResult) -> TextTable {
    let mut table = TextTable::new(&["QUERIED", "INTERFACE", "SENT", "RECEIVED HERE"]);
    for ProbedAddress { to, interfaces, failure, was_heard } in &scan.probed {
        let (to, interfaces) = (to.to_string(), interfaces.join(", "));
        let sent = failure.as_ref().map_or("yes", |failure| failure.text.as_str());
        let heard = if *was_heard { "yes" } else { "no" };
        let colour = failure.is_some().then_some(Colour::Yellow);
        table.row([(to.as_str(), None), (&interfaces, None), (sent, colour), (heard, None)]);
    }
    table
}
