//! The one place that reads clocks. Everything that decides takes the time as an argument instead.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::{BootMs, WallMs};

/// Now on the boot clock (`CLOCK_BOOTTIME`): counts suspended time, so a lease cannot outlive a suspended machine.
#[must_use]
pub fn boot_now() -> BootMs {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::Boottime;
    // Elsewhere the monotonic clock is the nearest: on macOS it counts suspended time too.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let now = clock_gettime(CLOCK);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let milliseconds = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
    BootMs(seconds * 1000 + milliseconds)
}

/// Now in the civil calendar.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub fn wall_now() -> WallMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallMs::new(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
