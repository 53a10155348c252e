//! Configuration of a folder on a shared drive. Pure: plain values.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Folder of a shared drive, and the way to reach it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DriveConfig {
    /// Id of the shared drive (`SHARED_DRIVE_ID`).
    pub drive: String,
    /// Id of the folder on it (`REGISTERED_USERS_FOLDER_ID`).
    pub folder: String,
    /// The JSON key file of the service account (`GOOGLE_CREDENTIALS`). Not read if there is an
    /// `endpoint`.
    pub credentials: PathBuf,
    /// The URL of a stand-in, without a trailing slash. It needs no credentials.
    pub endpoint: Option<String>,
    /// Directory of this machine in which a node keeps the id of its slot table. `None` for a
    /// program that is no node.
    pub table_dir: Option<PathBuf>,
    /// Time between the creation of a block of the slot table and the decision which one is used.
    /// All blocks that nodes created at the same time must be listed after it.
    pub settle_time: Duration,
    /// Files asked for per page of a listing.
    pub page_size: usize,
}

impl DriveConfig {
    /// Default of [`Self::settle_time`].
    pub const SETTLE_TIME: Duration = Duration::from_secs(10);

    /// Most files per page that the API allows, and the default.
    pub const MAX_PAGE_SIZE: usize = 1000;
}

impl fmt::Display for DriveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {} of the shared drive {}", self.folder, self.drive)?;
        match &self.endpoint {
            Some(endpoint) => write!(f, " of the stand-in at {endpoint}"),
            None => Ok(()),
        }
    }
}
