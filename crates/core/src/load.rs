//! How busy a node's processors are.

use serde::{Deserialize, Serialize};

/// Processor load in thousandths of the capacity that the node may use.
///
/// Invariant: 0 to 1000.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(from = "u16", into = "u16")]
pub struct Load(u16);

impl Load {
    /// What a node is taken for whose load is not known: neither preferred nor avoided.
    pub const NEUTRAL: Self = Self(500);

    /// A load from thousandths; more than 1000 counts as 1000.
    #[must_use]
    pub fn from_permille(permille: u16) -> Self {
        Self(permille.min(1000))
    }

    /// A load from a share of 0.0 to 1.0; values outside are brought inside, NaN is neutral.
    #[must_use]
    pub fn from_share(share: f64) -> Self {
        if share.is_nan() {
            return Self::NEUTRAL;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
        Self((share.clamp(0.0, 1.0) * 1000.0).round() as u16)
    }

    /// Thousandths.
    #[must_use]
    pub fn permille(self) -> u16 {
        self.0
    }

    /// A share of 0.0 to 1.0.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / 1000.0
    }

    /// Whether this load is below `other` by at least `points` hundredths of the capacity.
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
    fn lighter_by_counts_whole_points_on_both_sides_of_the_border() {
        let heavy = Load::from_permille(500);
        assert!(Load::from_permille(350).lighter_by(15, heavy));
        assert!(!Load::from_permille(351).lighter_by(15, heavy));
    }

    #[test]
    fn shares_outside_the_range_are_brought_inside() {
        assert_eq!(Load::from_share(-1.0).permille(), 0);
        assert_eq!(Load::from_share(7.0).permille(), 1000);
        assert_eq!(Load::from_share(f64::NAN), Load::NEUTRAL);
    }
}
