//! Chat: delay and loss of messages, and the cost of an idle peer.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;

use crate::bare_chat_peer;
use crate::builds::{self, Build};
use crate::chat_peer::{self, ChatCommand, ChatReport, Deliveries};
use crate::comparison::{median, now};
use crate::memory::mb;
use crate::process::{Process, stolen_time};
use crate::{Args, progress};

/// Length of a message, in bytes.
const TEXT_BYTES: usize = 200;

/// Messages that each peer sends in a second.
const MESSAGES_PER_SECOND: u64 = 1000;

/// Delay before the first message, in microseconds. By then all peers have read their commands.
const START_DELAY_US: u64 = 10_000;

/// Number of peers in the large chat.
const LARGE_CHAT: usize = 6;

/// Largest steal time of a quiet run, in percent. The host of a virtual machine takes this time
/// away. Delays of other runs describe the host and not this program.
const MAX_STOLEN_PERCENT: f64 = 2.0;

/// Number of quiet runs after which a comparison ends.
const QUIET_RUNS: usize = 5;

/// Longest wait for the links between the peers.
const LINK_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause between two checks of the links.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Time after the start of the peers until all of them are idle.
const SETTLE_TIME: Duration = Duration::from_secs(5);

pub(crate) fn measure(arguments: &Args) -> anyhow::Result<()> {
    for (peers, senders) in [(2, 1), (LARGE_CHAT, LARGE_CHAT)] {
        compare(peers, senders, arguments)?;
    }
    measure_idle(arguments.idle_seconds)
}

/// Runs peers of each build and the baseline in turn, until enough runs of this build are quiet.
/// All runs are printed, quiet or not.
fn compare(peers: usize, senders: usize, arguments: &Args) -> anyhow::Result<()> {
    let builds = builds::all(arguments)?;
    let bare = Build { name: "bare programs", program: builds[0].program.clone() };
    let mut kinds: Vec<_> = builds.iter().map(|build| (build, chat_peer::COMMAND, Vec::<Run>::new())).collect();
    kinds.push((&bare, bare_chat_peer::COMMAND, Vec::new()));
    println!("chat, {senders} of {peers} say {MESSAGES_PER_SECOND} messages of {TEXT_BYTES} bytes a second:");
    for number in 1..=arguments.chat_runs {
        progress(&format!("chat: {senders} of {peers} send, run {number} of at most {}", arguments.chat_runs));
        for (build, command, runs) in &mut kinds {
            let run = run_once(&build.program, command, peers, senders, arguments.chat_seconds)?;
            println!("    {}: {run}", build.name);
            runs.push(run);
        }
        if kinds[0].2.iter().filter(|run| run.is_quiet()).count() >= QUIET_RUNS {
            break;
        }
    }
    for (build, _, runs) in &kinds {
        println!("    {}, all: {}", build.name, summary(runs));
    }
    Ok(())
}

/// The result of one run.
struct Run {
    deliveries: Deliveries,
    /// Number of messages that all peers together had to receive.
    expected: u64,
    /// Processor time of all peers, in percent of one processor.
    busy_percent: f64,
    /// Steal time, in percent of all processors.
    stolen_percent: f64,
}

impl Run {
    fn is_quiet(&self) -> bool {
        self.stolen_percent <= MAX_STOLEN_PERCENT
    }

    fn delay(&self, percent: u64) -> f64 {
        u32::try_from(quantile(&self.deliveries.delays_us, percent)).map_or(f64::INFINITY, f64::from)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { busy_percent, stolen_percent, .. } = self;
        let [p50, p99, worst] = [50, 99, 100].map(|percent| self.delay(percent));
        write!(f, "p50 {p50} µs, p99 {p99}, worst {worst}, processor {busy_percent:.0}%, stolen {stolen_percent:.1}%")
    }
}

/// Messages received in all runs, and delays in the quiet runs.
fn summary(runs: &[Run]) -> String {
    let sum = |part: fn(&Run) -> u64| runs.iter().map(part).sum::<u64>();
    let arrived = sum(|run| run.deliveries.messages);
    let (expected, duplicates) = (sum(|run| run.expected), sum(|run| run.deliveries.duplicates));
    let quiet: Vec<&Run> = runs.iter().filter(|run| run.is_quiet()).collect();
    let median_of =
        |runs: &[&Run], part: fn(&Run) -> f64| median(&mut runs.iter().map(|run| part(run)).collect::<Vec<_>>());
    let delays = if quiet.is_empty() {
        "no run was quiet".to_owned()
    } else {
        let [p50, p99, busy] = [|run: &Run| run.delay(50), |run: &Run| run.delay(99), |run: &Run| run.busy_percent]
            .map(|part| median_of(&quiet, part));
        let count = quiet.len();
        format!(
            "medians of the {count} with at most {MAX_STOLEN_PERCENT}% stolen: p50 {p50} µs, p99 {p99} µs, processor {busy:.0}% in all"
        )
    };
    let all = median_of(&runs.iter().collect::<Vec<_>>(), |run| run.delay(50));
    format!(
        "{arrived} of {expected} arrived, {duplicates} twice; {delays}; p50 of all {} runs: median {all} µs",
        runs.len()
    )
}

/// Runs a chat of `peers` processes, of which `senders` send and all receive. `command` is their
/// first argument.
fn run_once(program: &Path, command: &str, peers: usize, senders: usize, seconds: u64) -> anyhow::Result<Run> {
    let mut all = start_linked_peers(program, command, peers)?;
    let (before, stolen_before) = (cpu_time(&all)?, stolen_time()?);
    let started = now();
    let sent_by_one = MESSAGES_PER_SECOND * seconds;
    for (index, peer) in all.iter_mut().enumerate() {
        let sends = index < senders;
        let expected = sent_by_one * (senders - usize::from(sends)) as u64;
        let messages = if sends { sent_by_one } else { 0 };
        // The peers do not send at the same moments, because independent peers do not either.
        let start_after_us = START_DELAY_US + 1_000_000 / MESSAGES_PER_SECOND * index as u64 / peers as u64;
        peer.send_command(ChatCommand::Send {
            messages,
            per_second: MESSAGES_PER_SECOND,
            start_after_us,
            bytes: TEXT_BYTES,
            expected,
        })?;
    }
    let mut deliveries = Deliveries::default();
    for peer in &mut all {
        let ChatReport::Deliveries(peer_deliveries) = peer.report()? else {
            anyhow::bail!("a peer sent an unexpected report")
        };
        deliveries.messages += peer_deliveries.messages;
        deliveries.duplicates += peer_deliveries.duplicates;
        for (delay, count) in peer_deliveries.delays_us {
            *deliveries.delays_us.entry(delay).or_default() += count;
        }
    }
    let time = now() - started;
    Ok(Run {
        deliveries,
        expected: sent_by_one * (senders * (peers - 1)) as u64,
        busy_percent: percent(cpu_time(&all)?.saturating_sub(before), time),
        stolen_percent: percent(stolen_time()?.saturating_sub(stolen_before), time),
    })
}

/// Measures idle peers of the real command.
fn measure_idle(seconds: u64) -> anyhow::Result<()> {
    progress(&format!("chat: {LARGE_CHAT} peers idle for {seconds} s"));
    let mut addrs: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for index in 0..LARGE_CHAT {
        // The program itself, because the benchmark needs more memory.
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command.args(["peer", "--json", "--no-lan", "--listen", "127.0.0.1:0"]);
        command.args(["--name", &format!("peer{index}")]);
        if !addrs.is_empty() {
            command.args(["--peers", &addrs.join(",")]);
        }
        for variable in rollcall::config::chat::env_vars() {
            command.env_remove(variable);
        }
        let mut peer = ChatProcess::start(&mut command)?;
        let ready: serde_json::Value = serde_json::from_str(&peer.line()?)?;
        addrs.push(ready["listen"].as_str().context("a peer reports no listen address")?.to_owned());
        all.push(peer);
    }
    sleep(SETTLE_TIME);
    let before = cpu_time(&all)?;
    sleep(Duration::from_secs(seconds));
    let used = cpu_time(&all)?.saturating_sub(before) / u32::try_from(LARGE_CHAT)?;
    let memory = all.iter().map(|peer| peer.process.private_memory()).collect::<anyhow::Result<Vec<_>>>()?;
    let (least, most) = (memory.iter().min().copied().unwrap_or(0), memory.iter().max().copied().unwrap_or(0));
    println!(
        "chat, {LARGE_CHAT} peers that say nothing: {} to {} private and dirty; processor {:.3}% each",
        mb(least),
        mb(most),
        percent(used, Duration::from_secs(seconds))
    );
    Ok(())
}

/// Starts peers, each linked with all others.
fn start_linked_peers(program: &Path, kind: &str, count: usize) -> anyhow::Result<Vec<ChatProcess>> {
    let (mut addrs, mut all): (Vec<String>, Vec<ChatProcess>) = (Vec::new(), Vec::new());
    for index in 0..count {
        let mut command = Command::new(program);
        command.args([kind, &format!("peer{index}"), &addrs.join(",")]);
        let mut peer = ChatProcess::start(&mut command)?;
        let ChatReport::Listening(addr) = peer.report()? else { anyhow::bail!("a peer sent an unexpected report") };
        addrs.push(addr);
        all.push(peer);
    }
    let deadline = now() + LINK_TIMEOUT;
    for peer in &mut all {
        loop {
            peer.send_command(ChatCommand::Links)?;
            let ChatReport::Links(links) = peer.report()? else { anyhow::bail!("a peer sent an unexpected report") };
            if links == count - 1 {
                break;
            }
            anyhow::ensure!(now() < deadline, "a peer has {links} links after {LINK_TIMEOUT:?}");
            sleep(POLL_INTERVAL);
        }
    }
    Ok(all)
}

fn cpu_time(all: &[ChatProcess]) -> anyhow::Result<Duration> {
    all.iter().map(|peer| peer.process.cpu_time()).sum()
}

fn percent(used: Duration, of: Duration) -> f64 {
    used.as_secs_f64() / of.as_secs_f64() * 100.0
}

/// The smallest delay that `percent` of the messages did not exceed.
fn quantile(delays_us: &BTreeMap<u128, u64>, percent: u64) -> u128 {
    let wanted = (delays_us.values().sum::<u64>() * percent).div_ceil(100);
    let mut seen = 0;
    let reached = delays_us.iter().find(|(_, count)| {
        seen += **count;
        seen >= wanted
    });
    reached.map_or(0, |(delay, _)| *delay)
}

/// Process of a chat peer, controlled over its standard input and output.
struct ChatProcess {
    process: Process,
    commands: ChildStdin,
    reports: BufReader<ChildStdout>,
}

impl ChatProcess {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).env_remove("RUST_LOG"))?;
        let commands = process.child().stdin.take().context("no pipe")?;
        let reports = BufReader::new(process.child().stdout.take().context("no pipe")?);
        Ok(Self { process, commands, reports })
    }

    fn send_command(&mut self, command: ChatCommand) -> anyhow::Result<()> {
        writeln!(self.commands, "{}", serde_json::to_string(&command)?).context("a peer has ended")
    }

    fn report(&mut self) -> anyhow::Result<ChatReport> {
        ChatReport::read(&self.line()?)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        anyhow::ensure!(self.reports.read_line(&mut line)? > 0, "a peer has ended");
        Ok(line)
    }
}
