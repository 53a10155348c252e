//! Limit of one batch of rows, by number and by bytes.

use rollcall_core::Username;

/// Rows that still fit into a batch. Only the names differ much in length: the other fields of a
/// row have a bound that the caller counts.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimit {
    /// Largest number of rows.
    pub rows: usize,
    /// Largest sum of the lengths of the names, in bytes. The last name may exceed it, so that a
    /// batch is never empty.
    pub name_bytes: usize,
}

impl BatchLimit {
    /// Whether a row of this name fits. If so, it is counted.
    pub(super) fn admit(&mut self, name: &Username) -> bool {
        let fits = self.rows > 0 && self.name_bytes > 0;
        if fits {
            self.rows -= 1;
            self.name_bytes = self.name_bytes.saturating_sub(name.as_str().len());
        }
        fits
    }
}

/// A limit on the number of rows alone.
impl From<usize> for BatchLimit {
    fn from(rows: usize) -> Self {
        Self { rows, name_bytes: usize::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_at_its_rows_or_with_the_name_that_reaches_its_bytes() {
        let admitted = |mut limit: BatchLimit, bytes: usize| {
            let name = Username::parse(&"x".repeat(bytes)).unwrap();
            (0..100).take_while(|_| limit.admit(&name)).count()
        };
        assert_eq!(admitted(3.into(), 255), 3);
        let limit = BatchLimit { rows: 10, name_bytes: 600 };
        assert_eq!([1, 59, 60, 61, 200, 201, 255].map(|bytes| admitted(limit, bytes)), [10, 10, 10, 10, 3, 3, 3]);
    }
}
