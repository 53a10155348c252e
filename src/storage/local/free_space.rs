//! Floor of free space: a reserve on the disk for the nodes themselves, which users' objects cannot
//! fill.

use std::io;
use std::path::Path;

use rustix::fs::statvfs;

use super::super::BackendError;

/// Largest floor that is chosen without a setting, in bytes. Enough for ballots, snapshots and logs
/// of all nodes until an operator acts.
const MAX_DEFAULT_FLOOR: u64 = 256 * 1024 * 1024;
/// The floor that is chosen without a setting is at most this part of a small disk: 5%.
const DEFAULT_FLOOR_DIVISOR: u64 = 20;

/// Least space that users' objects leave free.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SpaceFloor {
    /// None.
    Off,
    /// The smaller of [`MAX_DEFAULT_FLOOR`] and 5% of the disk.
    OfDisk,
    /// A number of bytes.
    Bytes(u64),
}

/// Size of a disk, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct DiskSpace {
    pub(super) total: u64,
    /// Space that this process may use.
    pub(super) free: u64,
}

impl SpaceFloor {
    /// The floor that the setting chooses.
    pub(super) fn new(min_free_bytes: Option<u64>) -> Self {
        match min_free_bytes {
            None => Self::OfDisk,
            Some(0) => Self::Off,
            Some(bytes) => Self::Bytes(bytes),
        }
    }

    fn bytes(self, disk: DiskSpace) -> u64 {
        match self {
            Self::Off => 0,
            Self::OfDisk => MAX_DEFAULT_FLOOR.min(disk.total / DEFAULT_FLOOR_DIVISOR),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Checks that `disk`, on which `dir` is, has this much free space.
    pub(super) fn check(self, disk: DiskSpace, dir: &Path) -> Result<(), BackendError> {
        let floor = self.bytes(disk);
        if disk.free >= floor {
            return Ok(());
        }
        Err(BackendError::Full(format!(
            "the disk of {} has {} bytes of free space, and min_free_bytes keeps {floor} for the nodes; free some space \
             on this disk, or lower min_free_bytes",
            dir.display(),
            disk.free
        )))
    }
}

/// Measures the disk on which `dir` is.
pub(super) fn disk_space(dir: &Path) -> io::Result<DiskSpace> {
    let found = statvfs(dir)?;
    Ok(DiskSpace {
        total: found.f_blocks.saturating_mul(found.f_frsize),
        free: found.f_bavail.saturating_mul(found.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn is_full(min_free_bytes: Option<u64>, total: u64, free: u64) -> bool {
        let checked = SpaceFloor::new(min_free_bytes).check(DiskSpace { total, free }, Path::new("data/bucket"));
        if let Err(error) = &checked {
            let BackendError::Full(text) = error else { panic!("{error:?}") };
            assert!(text.contains("min_free_bytes") && text.contains(&free.to_string()), "{text}");
        }
        checked.is_err()
    }

    #[test]
    fn the_default_floor_is_256_mib_or_5_percent_of_a_small_disk() {
        let large = 100_000 * MIB;
        assert_eq!([256 * MIB - 1, 256 * MIB].map(|free| is_full(None, large, free)), [true, false]);
        let small = 20 * MIB;
        assert_eq!([MIB - 1, MIB].map(|free| is_full(None, small, free)), [true, false]);
    }

    #[test]
    fn a_setting_replaces_the_default_and_0_turns_the_floor_off() {
        assert_eq!([6, 7].map(|free| is_full(Some(7), 1000 * MIB, free)), [true, false]);
        assert!(!is_full(Some(0), 1000 * MIB, 0));
    }

    #[test]
    fn the_disk_of_a_directory_has_a_size() {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk_space(dir.path()).unwrap();
        assert!(disk.total > 0 && disk.free <= disk.total, "{disk:?}");
        assert!(disk_space(&dir.path().join("missing")).is_err());
    }
}
