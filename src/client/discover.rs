//! Who is online, asked of the leader.

use super::{Client, ClientError};
use crate::api::Discovered;

/// The most clients that are asked for; enough for a program that wants somebody to talk to.
const MOST: usize = 1000;

impl Client {
    /// Who is online, and where; the first thousand by name.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn discover(&self) -> Result<Discovered, ClientError> {
        self.ask_leader(|http, base| http.get(format!("{base}/discover?limit={MOST}"))).await
    }
}
