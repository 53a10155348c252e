//! The chat: how long a message takes and whether all arrive, and what a peer costs that has nothing to do.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;

use crate::bare_chatter;
use crate::chatter::{self, Heard, Report, Wish};
use crate::memory::mb;
use crate::processes::Process;
use crate::rounds::now;
use crate::{Arguments, progress};

/// Bytes of a message's text.
const BYTES: usize = 200;

/// Messages that each peer says in a second.
const A_SECOND: u64 = 1000;

/// Before the first of them, when all have heard what is wanted.
const STARTS_AFTER_US: u64 = 10_000;

/// The peers of a chat with many.
const MANY: usize = 6;

/// The longest wait for peers to be linked.
const LINK_TIME: Duration = Duration::from_secs(20);

/// Between two looks at whether they are.
const LOOK: Duration = Duration::from_millis(50);

/// After which a peer that was just linked has nothing left to do.
const SETTLED: Duration = Duration::from_secs(5);

pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    for (peers, talkers) in [(2, 1), (MANY, MANY)] {
        for command in [chatter::COMMAND, bare_chatter::COMMAND] {
            talk(command, peers, talkers, arguments.chat_seconds)?;
        }
    }
    idle(arguments.idle_seconds)
}

/// `talkers` of the `peers` talk, all others listen. They are processes of this program with this first argument.
fn talk(command: &str, peers: usize, talkers: usize, seconds: u64) -> anyhow::Result<()> {
    let kind = if command == bare_chatter::COMMAND { "bare programs" } else { "peers" };
    progress(&format!("chat: {peers} {kind}, of which {talkers} say {A_SECOND} messages a second for {seconds} s"));
    let mut all = linked(command, peers)?;
    let before = cpu_time(&all)?;
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
    let busy = percent(cpu_time(&all)?.saturating_sub(before), now() - started);
    let expected = said * (talkers * (peers - 1)) as u64;
    println!(
        "chat, {talkers} of {peers} {kind} say {A_SECOND} messages of {BYTES} bytes a second: {} of {expected} arrived, {} twice; \
         p50 {} µs, p99 {} µs, worst {} µs; processor {busy:.0}% in all",
        heard.messages,
        heard.doubles,
        quantile(&heard.delays_us, 50),
        quantile(&heard.delays_us, 99),
        quantile(&heard.delays_us, 100),
    );
    Ok(())
}

/// The real command, with nothing to do.
fn idle(seconds: u64) -> anyhow::Result<()> {
    progress(&format!("chat: {MANY} peers with nothing to do for {seconds} s"));
    let mut addrs: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for index in 0..MANY {
        // The program itself: the benchmark's is larger, and laid out otherwise.
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command.args(["peer", "--json", "--no-lan", "--listen", "127.0.0.1:0"]);
        command.args(["--name", &format!("peer{index}")]);
        if !addrs.is_empty() {
            command.args(["--peers", &addrs.join(",")]);
        }
        for variable in rollcall::peer::settings::variables() {
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
    let memory = all.iter().map(|chatter| chatter.process.memory()).collect::<anyhow::Result<Vec<_>>>()?;
    let (least, most) = (memory.iter().min().copied().unwrap_or(0), memory.iter().max().copied().unwrap_or(0));
    println!(
        "chat, {MANY} peers that say nothing: {} to {} resident; processor {:.3}% each",
        mb(least),
        mb(most),
        percent(used, Duration::from_secs(seconds))
    );
    Ok(())
}

/// Peers, each linked with all others.
fn linked(kind: &str, count: usize) -> anyhow::Result<Vec<Chatter>> {
    let (mut addrs, mut all): (Vec<String>, Vec<Chatter>) = (Vec::new(), Vec::new());
    for index in 0..count {
        let mut command = Command::new(std::env::current_exe()?);
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
