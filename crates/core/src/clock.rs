//! The only module that reads the system's clocks. Code that makes decisions takes the time as an
//! argument.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::{BootMs, WallMs};

/// Current time of the boot clock (`CLOCK_BOOTTIME`).
///
/// This clock also counts while the machine is suspended, so a lease expires during a suspend.
#[must_use]
pub fn boot_now() -> BootMs {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::Boottime;
    // Other systems have no boot clock. The monotonic clock is the most similar one; on macOS it
    // also counts suspended time.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let now = clock_gettime(CLOCK);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let milliseconds = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
    BootMs(seconds * 1000 + milliseconds)
}

/// Current time of the wall clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this module is the exception to the ban")]
pub fn wall_now() -> WallMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallMs::new(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
