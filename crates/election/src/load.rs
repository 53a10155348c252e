//! CPU load of this node: the used share of the available processors, smoothed over several
//! seconds.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use sysinfo::System;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use rollcall_core::Load;
use rollcall_core::clock::boot_now;

/// Source of the load.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoadSource {
    /// The processors: those of the control group if it has a quota, else those of the machine.
    Cpu,
    /// A file that contains a share from 0.0 to 1.0. Another program or a test writes it.
    File(PathBuf),
}

/// Weight of one sample in the smoothed load, for samples half a second apart. The time constant is
/// 7.5 s. The value was found by simulation: it follows real load quickly, and one spike does not
/// move the leadership.
const SAMPLE_WEIGHT: f64 = 0.067;

/// Sample interval in milliseconds that [`SAMPLE_WEIGHT`] applies to.
const REFERENCE_INTERVAL_MS: f64 = 500.0;

/// Number of failed samples in a row after which the load counts as unknown. An unknown load is
/// neutral.
const STALE_AFTER_FAILURES: u32 = 5;

/// Samples and smooths the load. It reads files, so its calls block.
pub(super) struct Sampler {
    source: LoadReader,
    weight: f64,
    smoothed: Option<f64>,
    failures: u32,
}

enum LoadReader {
    /// CPU usage of the machine. `None` if the system does not report it.
    Machine(Option<Box<System>>),
    Group(CgroupCpu),
    File(PathBuf),
}

/// A control group with a processor quota (cgroup v2, `cpu.max` and `cpu.stat`).
struct CgroupCpu {
    dir: PathBuf,
    /// Quota of the group, in processors.
    quota: f64,
    /// Used processor time and clock time at the last sample, both in seconds.
    last_sample: Option<(f64, f64)>,
}

impl Sampler {
    /// A sampler for one sample every `interval_ms` milliseconds.
    pub(super) fn new(source: LoadSource, interval_ms: u64) -> Self {
        let source = match source {
            LoadSource::File(path) => LoadReader::File(path),
            LoadSource::Cpu => CgroupCpu::of_current_process()
                .map_or_else(|| LoadReader::Machine(System::new().ok().map(Box::new)), LoadReader::Group),
        };
        #[expect(clippy::cast_precision_loss, reason = "intervals are far below 2^52")]
        let intervals = interval_ms as f64 / REFERENCE_INTERVAL_MS;
        // A value from a file is not smoothed, so that its writer can set an exact load.
        let weight =
            if matches!(source, LoadReader::File(_)) { 1.0 } else { 1.0 - (1.0 - SAMPLE_WEIGHT).powf(intervals) };
        Self { source, weight, smoothed: None, failures: 0 }
    }

    /// Takes a sample and returns the smoothed load. `now_seconds` is the time of any monotonic
    /// clock.
    pub(super) fn sample(&mut self, now_seconds: f64) -> Load {
        let share = match &mut self.source {
            LoadReader::Machine(system) => system.as_mut().map(|system| {
                system.refresh_cpu_usage();
                f64::from(system.global_cpu_usage()) / 100.0
            }),
            LoadReader::Group(group) => group.share(now_seconds),
            LoadReader::File(path) => fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()),
        };
        self.smooth(share.filter(|share| share.is_finite()))
    }

    fn smooth(&mut self, share: Option<f64>) -> Load {
        if let Some(share) = share {
            self.failures = 0;
            let before = self.smoothed.unwrap_or(share);
            self.smoothed = Some(before + (share.clamp(0.0, 1.0) - before) * self.weight);
        } else {
            self.failures += 1;
            if self.failures >= STALE_AFTER_FAILURES {
                self.smoothed = None;
            }
        }
        self.smoothed.map_or(Load::NEUTRAL, Load::from_share)
    }
}

/// Samples the load until the receiver is dropped. Samples run on blocking threads, not on the
/// election thread.
pub(crate) async fn sample_forever(mut sampler: Sampler, interval: Duration, out: watch::Sender<Option<Load>>) {
    loop {
        sleep(interval).await;
        let reading = spawn_blocking(move || {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since boot are far below 2^52")]
            let load = sampler.sample(boot_now().0 as f64 / 1000.0);
            (sampler, load)
        });
        let Ok((back, load)) = reading.await else { return };
        sampler = back;
        if out.send(Some(load)).is_err() {
            return;
        }
    }
}

impl CgroupCpu {
    /// The nearest enclosing control group of this process that has a quota.
    fn of_current_process() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = cgroup_v2_path(&groups)?;
        let root = PathBuf::from("/sys/fs/cgroup");
        let dir = root.join(path.trim_start_matches('/'));
        dir.ancestors().take_while(|dir| dir.starts_with(&root)).find_map(|dir| {
            let quota = quota(&fs::read_to_string(dir.join("cpu.max")).ok()?)?;
            Some(Self { dir: dir.to_owned(), quota, last_sample: None })
        })
    }

    fn share(&mut self, now_seconds: f64) -> Option<f64> {
        let used = usage_seconds(&fs::read_to_string(self.dir.join("cpu.stat")).ok()?)?;
        let (before, then) = self.last_sample.replace((used, now_seconds))?;
        let elapsed = now_seconds - then;
        (elapsed > 0.0).then(|| (used - before) / elapsed / self.quota)
    }
}

/// The path of the cgroup v2 hierarchy in `/proc/self/cgroup`.
fn cgroup_v2_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The quota in `cpu.max`, in processors. `None` for "max".
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// The used processor time in `cpu.stat`, in seconds.
fn usage_seconds(text: &str) -> Option<f64> {
    let microseconds: f64 = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()?;
    Some(microseconds / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_group_files_are_read() {
        assert_eq!(cgroup_v2_path("1:name=systemd:/x\n0::/user.slice/a\n"), Some("/user.slice/a"));
        assert_eq!(quota("max 100000\n"), None);
        assert_eq!(quota("150000 100000\n"), Some(1.5));
        assert_eq!(usage_seconds("usage_usec 2500000\nuser_usec 1\n"), Some(2.5));
    }

    #[test]
    fn samples_are_smoothed_and_a_spike_counts_little() {
        let mut sampler = Sampler::new(LoadSource::Cpu, 500);
        assert_eq!(sampler.smooth(Some(0.1)).permille(), 100);
        assert!(sampler.smooth(Some(1.0)).permille() < 170);
        for _ in 0..100 {
            sampler.smooth(Some(1.0));
        }
        assert!(sampler.smooth(Some(1.0)).permille() > 990);
    }

    #[test]
    fn a_stale_load_is_neutral_and_recovers() {
        let mut sampler = Sampler::new(LoadSource::Cpu, 500);
        sampler.smooth(Some(0.9));
        for _ in 1..STALE_AFTER_FAILURES {
            assert_eq!(sampler.smooth(None).permille(), 900);
        }
        assert_eq!(sampler.smooth(None), Load::NEUTRAL);
        assert_eq!(sampler.smooth(Some(0.2)).permille(), 200);
    }

    #[test]
    fn a_value_from_a_file_is_not_smoothed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("load");
        let mut sampler = Sampler::new(LoadSource::File(path.clone()), 500);
        assert_eq!(sampler.sample(0.0), Load::NEUTRAL);
        fs::write(&path, "0.25\n").unwrap();
        assert_eq!(sampler.sample(0.5).permille(), 250);
        fs::write(&path, "0.95").unwrap();
        assert_eq!(sampler.sample(1.0).permille(), 950);
    }
}
