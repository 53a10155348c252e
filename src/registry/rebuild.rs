//! Makes the index whole: lists the bucket and reads the profiles that are not known yet.

use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, interval_at, sleep};
use tracing::{debug, info, warn};

use super::index::Facts;
use super::lookup::Stored;
use super::{Epoch, Registry, Unavailable, lock};
use crate::domain::Username;
use crate::storage::{Folder, Key};

/// Profiles that are read at once.
const READS_AT_ONCE: usize = 16;

/// How often a long rebuild says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// The pause before another try when the bucket does not answer (each call has its own retries already).
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Registry {
    /// Begins an epoch: others may have written to the bucket until now, so the index counts as not whole and names
    /// missed before are asked for again. To be followed by [`Self::rebuild_index`]. An older epoch is ignored.
    pub fn begin_term(&self, epoch: Epoch) {
        lock(&self.0.index).begin(epoch);
    }

    /// Reads the bucket until the index is whole in `epoch`, or a later epoch begins. Tries again for as long as the
    /// bucket does not answer. May be dropped at any time; what was read stays.
    pub async fn rebuild_index(&self, epoch: Epoch) {
        while lock(&self.0.index).epoch() == epoch {
            match self.read_unknown().await {
                Ok(()) => return self.mark_whole(epoch),
                Err(why) => warn!("the list of users is not whole yet: {}", why.cause()),
            }
            sleep(TRY_AGAIN_AFTER).await;
        }
    }

    /// An epoch that ended meanwhile is not marked: then others may have written since the listing began.
    fn mark_whole(&self, epoch: Epoch) {
        let index = lock(&self.0.index);
        if index.epoch() == epoch {
            debug!(users = index.len(), "the list of users is whole");
            self.0.whole.send_replace(Some(epoch));
        }
    }

    async fn read_unknown(&self) -> Result<(), Unavailable> {
        let listed = self.0.bucket.list(&Folder::Users).await?;
        let names = listed.iter().filter_map(|name| {
            Username::parse(name).inspect_err(|_| debug!("skipped {name:?} in the bucket: not a username")).ok()
        });
        let unknown = lock(&self.0.index).unknown(names);
        let total = unknown.len();
        let mut reads = pin!(stream::iter(unknown).map(|name| self.read_row(name)).buffer_unordered(READS_AT_ONCE));
        let mut progress = interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
        let mut done = 0;
        loop {
            tokio::select! {
                read = reads.next() => match read {
                    Some(read) => read?,
                    None => return Ok(()),
                },
                _ = progress.tick() => {
                    info!("reading the list of users: {done} of {total} new profiles");
                    continue;
                }
            }
            done += 1;
        }
    }

    async fn read_row(&self, name: Username) -> Result<(), Unavailable> {
        match self.read_profile(&name).await? {
            Stored::Profile(profile) => {
                lock(&self.0.index).insert(name, Facts::from(profile));
            }
            // A folder of pictures whose owner is gone; nobody registered.
            Stored::Nothing => debug!("skipped '{name}' in the bucket: no {}", Key::Profile(name.clone())),
            // One broken object must not hide everybody else; it was logged where it was read.
            Stored::Corrupt => {}
        }
        Ok(())
    }
}
