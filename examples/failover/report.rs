//! Distribution of the measured times.

use std::time::Duration;

/// Measured times of all runs of one kind.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    times: Vec<Duration>,
}

impl Figures {
    pub(crate) fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// One line with the count and the nearest-rank percentiles.
    pub(crate) fn line(&self, title: &str) -> String {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let ms = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).map_or_else(|| "-".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1000.0))
        };
        format!("{title}: {} times, p50 {} ms, p99 {} ms, worst {} ms", sorted.len(), ms(50), ms(99), ms(100))
    }
}
