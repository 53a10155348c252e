//! Number of connections that this process may serve, from the setting and the limit on open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

use crate::http::limits::{MAX_REJECTED_CONNECTIONS, MIN_OPEN_FILES, MIN_RESERVED_FILES, RESERVED_FILES};

/// The numbers of connections that a node serves and rejects at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectionLimit {
    /// Connections served at once.
    pub served: usize,
    /// Further connections that wait for one of them to end, or for their 503.
    pub rejected: usize,
}

/// The process may open too few files for a node.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "this process may open {0} files, and a node needs at least {MIN_OPEN_FILES}; raise the limit (`ulimit -n`, or \
     LimitNOFILE= of systemd)"
)]
pub struct TooFewFiles(pub u64);

impl ConnectionLimit {
    /// Raises the limit on open files as far as `wanted` connections need and the system allows.
    /// Returns the number of connections for which it is enough.
    ///
    /// # Errors
    /// [`TooFewFiles`] if a node cannot run with so few.
    pub fn from_open_files(wanted: usize) -> Result<Self, TooFewFiles> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let needed = (wanted as u64).saturating_add(RESERVED_FILES);
        let new_limit = maximum.map_or(needed, |maximum| maximum.min(needed));
        let files = match current {
            // The system sets no limit.
            None => needed,
            Some(current) if current >= new_limit => current,
            Some(current) => setrlimit(Resource::Nofile, Rlimit { current: Some(new_limit), maximum })
                .map_or(current, |()| new_limit),
        };
        Self::for_files(files, wanted)
    }

    /// The limit for a process that may open `files` files. Half of a low number is kept for
    /// everything else: the election, the bucket, snapshots and rejected connections.
    fn for_files(files: u64, wanted: usize) -> Result<Self, TooFewFiles> {
        if files < MIN_OPEN_FILES {
            return Err(TooFewFiles(files));
        }
        let reserved = (files / 2).clamp(MIN_RESERVED_FILES, RESERVED_FILES);
        let served = usize::try_from(files - reserved).unwrap_or(usize::MAX).min(wanted);
        Ok(Self { served, rejected: (served / 2).clamp(1, MAX_REJECTED_CONNECTIONS) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_connections_follows_the_limit_on_open_files() {
        let limit =
            |files, wanted| ConnectionLimit::for_files(files, wanted).map(|limit| (limit.served, limit.rejected));
        assert_eq!(limit(MIN_OPEN_FILES - 1, 16_384), Err(TooFewFiles(MIN_OPEN_FILES - 1)));
        assert_eq!(limit(MIN_OPEN_FILES, 16_384), Ok((16, 8)));
        assert_eq!(limit(256, 16_384), Ok((128, 64)));
        assert_eq!(limit(1024, 16_384), Ok((512, 256)));
        assert_eq!(limit(4096, 16_384), Ok((3584, 256)));
        assert_eq!(limit(1 << 20, 16_384), Ok((16_384, 256)));
        assert_eq!(limit(1 << 20, 1), Ok((1, 1)));
    }

    #[test]
    fn the_limit_on_open_files_is_raised_as_far_as_allowed() {
        let limit = ConnectionLimit::from_open_files(100).unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let maximum = maximum.unwrap_or(u64::MAX);
        assert!(current.unwrap_or(u64::MAX) >= maximum.min(100 + RESERVED_FILES));
        assert_eq!(limit, ConnectionLimit::for_files(maximum.min(100 + RESERVED_FILES), 100).unwrap());
    }
}
