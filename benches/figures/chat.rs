//! The chat: how long a message takes and whether all arrive, and what a peer costs that has nothing to do.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;

use crate::bare_chatter;
use crate::builds::{self, Build};
use crate::chatter::{self, Heard, Report, Wish};
use crate::memory::mb;
use crate::processes::{Process, stolen_time};
use crate::rounds::{median, now};
use crate::{Arguments, progress};

/// Bytes of a message's text.
const BYTES: usize = 200;

/// Messages that each peer says in a second.
const A_SECOND: u64 = 1000;

/// Before the first of them, when all have heard what is wanted.
const STARTS_AFTER_US: u64 = 10_000;

/// The peers of a chat with many.
const MANY: usize = 6;

/// A run counts if the host took no more of the processors' time away than this. What is left is then the time of the machine
/// that the figure is for.
const QUIET_PERCENT: f64 = 2.0;

/// So many of those are enough.
const ENOUGH: usize = 5;

/// The longest wait for peers to be linked.
const LINK_TIME: Duration = Duration::from_secs(20);

/// Between two looks at whether they are.
const LOOK: Duration = Duration::from_millis(50);

/// After which a peer that was just linked has nothing left to do.
const SETTLED: Duration = Duration::from_secs(5);

pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    for (peers, talkers) in [(2, 1), (MANY, MANY)] {
        compare(peers, talkers, arguments)?;
    }
    idle(arguments.idle_seconds)
}

/// Peers of each build and bare programs in turn, until enough of this build's runs count. All runs are printed, whether they
/// count or not.
fn compare(peers: usize, talkers: usize, arguments: &Arguments) -> anyhow::Result<()> {
    let builds = builds::all(arguments)?;
    let bare = Build { name: "bare programs", program: builds[0].program.clone() };
    let mut kinds: Vec<_> = builds.iter().map(|build| (build, chatter::COMMAND, Vec::<Run>::new())).collect();
    kinds.push((&bare, bare_chatter::COMMAND, Vec::new()));
    println!("chat, {talkers} of {peers} say {A_SECOND} messages of {BYTES} bytes a second:");
    for number in 1..=arguments.chat_runs {
        progress(&format!("chat: {talkers} of {peers} talk, run {number} of at most {}", arguments.chat_runs));
        for (build, command, runs) in &mut kinds {
            let run = talk(&build.program, command, peers, talkers, arguments.chat_seconds)?;
            println!("    {}: {run}", build.name);
            runs.push(run);
        }
        if kinds[0].2.iter().filter(|run| run.is_quiet()).count() >= ENOUGH {
            break;
        }
    }
    for (build, _, runs) in &kinds {
        println!("    {}, all: {}", build.name, summary(runs));
    }
    Ok(())
}

/// One run of a chat.
struct Run {
    heard: Heard,
    expected: u64,
    /// Processor time of all peers, and what the host took away, as parts of one processor and of all.
    busy_percent: f64,
    stolen_percent: f64,
}

impl Run {
    fn is_quiet(&self) -> bool {
        self.stolen_percent <= QUIET_PERCENT
    }

    fn delay(&self, percent: u64) -> f64 {
        u32::try_from(quantile(&self.heard.delays_us, percent)).map_or(f64::INFINITY, f64::from)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { busy_percent, stolen_percent, .. } = self;
        let [p50, p99, worst] = [50, 99, 100].map(|percent| self.delay(percent));
        write!(f, "p50 {p50} µs, p99 {p99}, worst {worst}, processor {busy_percent:.0}%, stolen {stolen_percent:.1}%")
    }
}

/// What arrived in all runs, and how fast in those that count.
fn summary(runs: &[Run]) -> String {
    let sum = |part: fn(&Run) -> u64| runs.iter().map(part).sum::<u64>();
    let arrived = sum(|run| run.heard.messages);
    let (expected, doubles) = (sum(|run| run.expected), sum(|run| run.heard.doubles));
    let quiet: Vec<&Run> = runs.iter().filter(|run| run.is_quiet()).collect();
    let middle =
        |runs: &[&Run], part: fn(&Run) -> f64| median(&mut runs.iter().map(|run| part(run)).collect::<Vec<_>>());
    let delays = if quiet.is_empty() {
        "none had so little stolen that it counts".to_owned()
    } else {
        let [p50, p99, busy] = [|run: &Run| run.delay(50), |run: &Run| run.delay(99), |run: &Run| run.busy_percent]
            .map(|part| middle(&quiet, part));
        let count = quiet.len();
        format!(
            "medians of the {count} with at most {QUIET_PERCENT}% stolen: p50 {p50} µs, p99 {p99} µs, processor {busy:.0}% in all"
        )
    };
    let all = middle(&runs.iter().collect::<Vec<_>>(), |run| run.delay(50));
    format!(
        "{arrived} of {expected} arrived, {doubles} twice; {delays}; p50 of all {} runs: median {all} µs",
        runs.len()
    )
}

/// `talkers` of the `peers` talk, all others listen. They are processes of a program with this first argument.
fn talk(program: &Path, command: &str, peers: usize, talkers: usize, seconds: u64) -> anyhow::Result<Run> {
    let mut all = linked(program, command, peers)?;
    let (before, stolen_before) = (cpu_time(&all)?, stolen_time()?);
    let started = now();
    let said = A_SECOND * seconds;
    for (index, chatter) in all.iter_mut().enumerate() {
        let talks = index < talkers;
        let hear = said * (talkers - usize::from(talks)) as u64;
        let say = if talks { said } else { 0 };
        // Each has its own moment, as peers have that know nothing of each other.
        let after_us = STARTS_AFTER_US + 1_000_000 / A_SECOND * index as u64 / peers as u64;
        chatter.wish(Wish::Talk { say, a_second: A_SECOND, after_us, bytes: BYTES, hear })?;
    }
    let mut heard = Heard::default();
    for chatter in &mut all {
        let Report::Heard(theirs) = chatter.report()? else { anyhow::bail!("a peer says something else") };
        heard.messages += theirs.messages;
        heard.doubles += theirs.doubles;
        for (delay, count) in theirs.delays_us {
            *heard.delays_us.entry(delay).or_default() += count;
        }
    }
    let time = now() - started;
    Ok(Run {
        heard,
        expected: said * (talkers * (peers - 1)) as u64,
        busy_percent: percent(cpu_time(&all)?.saturating_sub(before), time),
        stolen_percent: percent(stolen_time()?.saturating_sub(stolen_before), time),
    })
}

/// The real command, with nothing to do.
fn idle(seconds: u64) -> anyhow::Result<()> {
    progress(&format!("chat: {MANY} peers with nothing to do for {seconds} s"));
    let mut addrs: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for index in 0..MANY {
        // The program itself, since the benchmark's is larger.
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command.args(["peer", "--json", "--no-lan", "--listen", "127.0.0.1:0"]);
        command.args(["--name", &format!("peer{index}")]);
        if !addrs.is_empty() {
            command.args(["--peers", &addrs.join(",")]);
        }
        for variable in rollcall::config::chat::env_vars() {
            command.env_remove(variable);
        }
        let mut chatter = Chatter::start(&mut command)?;
        let ready: serde_json::Value = serde_json::from_str(&chatter.line()?)?;
        addrs.push(ready["listen"].as_str().context("a peer does not say where it listens")?.to_owned());
        all.push(chatter);
    }
    sleep(SETTLED);
    let before = cpu_time(&all)?;
    sleep(Duration::from_secs(seconds));
    let used = cpu_time(&all)?.saturating_sub(before) / u32::try_from(MANY)?;
    let memory = all.iter().map(|chatter| chatter.process.private_memory()).collect::<anyhow::Result<Vec<_>>>()?;
    let (least, most) = (memory.iter().min().copied().unwrap_or(0), memory.iter().max().copied().unwrap_or(0));
    println!(
        "chat, {MANY} peers that say nothing: {} to {} private and dirty; processor {:.3}% each",
        mb(least),
        mb(most),
        percent(used, Duration::from_secs(seconds))
    );
    Ok(())
}

/// Peers, each linked with all others.
fn linked(program: &Path, kind: &str, count: usize) -> anyhow::Result<Vec<Chatter>> {
    let (mut addrs, mut all): (Vec<String>, Vec<Chatter>) = (Vec::new(), Vec::new());
    for index in 0..count {
        let mut command = Command::new(program);
        command.args([kind, &format!("peer{index}"), &addrs.join(",")]);
        let mut chatter = Chatter::start(&mut command)?;
        let Report::Listens(addr) = chatter.report()? else { anyhow::bail!("a peer says something else") };
        addrs.push(addr);
        all.push(chatter);
    }
    let deadline = now() + LINK_TIME;
    for chatter in &mut all {
        loop {
            chatter.wish(Wish::Links)?;
            let Report::Links(links) = chatter.report()? else { anyhow::bail!("a peer says something else") };
            if links == count - 1 {
                break;
            }
            anyhow::ensure!(now() < deadline, "a peer has {links} links after {LINK_TIME:?}");
            sleep(LOOK);
        }
    }
    Ok(all)
}

fn cpu_time(all: &[Chatter]) -> anyhow::Result<Duration> {
    all.iter().map(|chatter| chatter.process.cpu_time()).sum()
}

fn percent(used: Duration, of: Duration) -> f64 {
    used.as_secs_f64() / of.as_secs_f64() * 100.0
}

/// The least delay that `percent` of the messages did not exceed.
fn quantile(delays_us: &BTreeMap<u128, u64>, percent: u64) -> u128 {
    let wanted = (delays_us.values().sum::<u64>() * percent).div_ceil(100);
    let mut seen = 0;
    let reached = delays_us.iter().find(|(_, count)| {
        seen += **count;
        seen >= wanted
    });
    reached.map_or(0, |(delay, _)| *delay)
}

/// A peer's process.
struct Chatter {
    process: Process,
    wishes: ChildStdin,
    reports: BufReader<ChildStdout>,
}

impl Chatter {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).env_remove("RUST_LOG"))?;
        let wishes = process.child().stdin.take().context("it was asked for")?;
        let reports = BufReader::new(process.child().stdout.take().context("it was asked for")?);
        Ok(Self { process, wishes, reports })
    }

    fn wish(&mut self, wish: Wish) -> anyhow::Result<()> {
        writeln!(self.wishes, "{}", serde_json::to_string(&wish)?).context("a peer has ended")
    }

    fn report(&mut self) -> anyhow::Result<Report> {
        Report::read(&self.line()?)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        anyhow::ensure!(self.reports.read_line(&mut line)? > 0, "a peer has ended");
        Ok(line)
    }
}
