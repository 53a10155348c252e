//! Processor load of a node.

use serde::{Deserialize, Serialize};

/// Processor load, in thousandths of the capacity that the node may use.
///
/// Invariant: 0 to 1000.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(from = "u16", into = "u16")]
pub struct Load(u16);

impl Load {
    /// Load assumed while the real load is unknown: half of the capacity. The election neither
    /// prefers nor avoids such a node.
    pub const NEUTRAL: Self = Self(500);

    /// Creates a load from thousandths. A value above 1000 becomes 1000.
    #[must_use]
    pub fn from_permille(permille: u16) -> Self {
        Self(permille.min(1000))
    }

    /// Creates a load from a share of 0.0 to 1.0. A value outside this range is clamped; NaN
    /// becomes [`Self::NEUTRAL`].
    #[must_use]
    pub fn from_share(share: f64) -> Self {
        if share.is_nan() {
            return Self::NEUTRAL;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
        Self((share.clamp(0.0, 1.0) * 1000.0).round() as u16)
    }

    /// The load in thousandths, 0 to 1000.
    #[must_use]
    pub fn permille(self) -> u16 {
        self.0
    }

    /// The load as a share, 0.0 to 1.0.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / 1000.0
    }

    /// Whether this load is lower than `other` by at least `points` percentage points.
    #[must_use]
    pub fn lighter_by(self, points: u16, other: Self) -> bool {
        self.0.saturating_add(points.saturating_mul(10)) <= other.0
    }
}

impl From<u16> for Load {
    fn from(permille: u16) -> Self {
        Self::from_permille(permille)
    }
}

impl From<Load> for u16 {
    fn from(load: Load) -> Self {
        load.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_lighter_at_exactly_the_given_difference() {
        let heavy = Load::from_permille(500);
        assert!(Load::from_permille(350).lighter_by(15, heavy));
        assert!(!Load::from_permille(351).lighter_by(15, heavy));
    }

    #[test]
    fn a_share_outside_the_range_is_clamped() {
        assert_eq!(Load::from_share(-1.0).permille(), 0);
        assert_eq!(Load::from_share(7.0).permille(), 1000);
        assert_eq!(Load::from_share(f64::NAN), Load::NEUTRAL);
    }
}
