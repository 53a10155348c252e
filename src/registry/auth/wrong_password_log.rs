//! Rate limit for log lines about wrong passwords. Pure: time is an argument.
//!
//! An attacker decides how often a password is wrong, so the number of lines must not follow it. A
//! line says how many were left out before it.

use rollcall_core::{BootMs, Rate, TokenBucket};

/// Lines in the log: a burst of 20, then one every 3 s.
const LINES: Rate = Rate::new(20, 3000);

/// The lines that may be written now, and the number of those left out.
#[derive(Debug, Default)]
pub(super) struct WrongPasswordLog {
    lines: TokenBucket,
    left_out: u64,
}

impl WrongPasswordLog {
    /// Whether to write a line for a wrong password at `now`. Returns the number of lines left out
    /// since the last one.
    pub(super) fn try_write(&mut self, now: BootMs) -> Option<u64> {
        if self.lines.take(LINES, now) {
            Some(std::mem::take(&mut self.left_out))
        } else {
            self.left_out += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_one_line_every_three_seconds_says_how_many_were_left_out() {
        let mut log = WrongPasswordLog::default();
        let at = BootMs(5000);
        let written = (0..25).filter_map(|_| log.try_write(at));
        assert_eq!(written.collect::<Vec<_>>(), [0; 20]);
        assert_eq!(log.try_write(at.plus(2999)), None);
        assert_eq!(log.try_write(at.plus(3000)), Some(6));
        assert_eq!(log.try_write(at.plus(3000)), None);
        assert_eq!(log.try_write(at.plus(6000)), Some(1));
    }
}
