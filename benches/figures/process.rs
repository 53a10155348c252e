//! Child processes, and their use of processor and memory as the operating system counts it.

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A child process. Dropping it kills and reaps it.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        command.spawn().map(Self).context("a process cannot be started")
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Kills the process (SIGKILL) and waits until it has ended.
    pub(crate) fn kill(&mut self) {
        // An error means that the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Processor time of all threads of the process so far, user and system.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name in parentheses may contain spaces. The fields after it are 3, 4, and so on.
        // Fields 14 and 15 are the times in ticks.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has another form")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(from_ticks(ticks))
    }

    /// Private memory in bytes: the sum of `Private_Dirty` (`proc_pid_smaps(5)`). Pages of the
    /// executable file do not count, because the system can drop them and read them again.
    pub(crate) fn private_memory(&self) -> anyhow::Result<u64> {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id()))?;
        let line = smaps.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
        kibibytes(line.context("no Private_Dirty in /proc/PID/smaps_rollup")?)
    }

    /// Resident memory, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/PID/status")?;
        kibibytes(line)
    }
}

fn kibibytes(text: &str) -> anyhow::Result<u64> {
    Ok(text.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Raises the limit on open files of this process to `files`.
///
/// # Errors
/// The system allows fewer.
pub(crate) fn raise_open_files(files: u64) -> anyhow::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < files) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum });
        raised.with_context(|| format!("the benchmark opens {files} files; raise the limit (ulimit -n)"))?;
    }
    Ok(())
}

/// Steal time so far, as the mean of all processors: time in which the host ran something else than
/// this virtual machine. Zero on a physical machine, or if the host does not report it.
pub(crate) fn stolen_time() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks = stat.lines().next().and_then(|line| line.split_whitespace().nth(8));
    // The fields are cpu, user, nice, system, idle, iowait, irq, softirq, steal (`proc_stat(5)`).
    // The lines of cpu0, cpu1, ... follow.
    let ticks = ticks.context("/proc/stat has another form")?.parse()?;
    let processors = stat.lines().skip(1).filter(|line| line.starts_with("cpu")).count();
    Ok(from_ticks(ticks) / u32::try_from(processors.max(1))?)
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_micros(ticks * 1_000_000 / rustix::param::clock_ticks_per_second())
}

/// Description of the machine.
pub(crate) fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cpus} cores{model}; Linux {}", kernel.trim())
}
