//! Baseline for registrations: a bare loop of durable file creations. It measures the rate that the
//! disk permits.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread;

/// Creates `count` files with the content `bytes` on `threads` threads at once. Each file is in a
/// new folder below `root`. It is synced, then linked to its name, then both folders are synced.
pub(crate) fn create(root: &Path, threads: u64, count: u64, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = root.join(".tmp");
    fs::create_dir_all(&temporary)?;
    thread::scope(|scope| {
        let temporary = &temporary;
        let worker = |first: u64| {
            move || -> anyhow::Result<()> {
                for number in (first..count).step_by(usize::try_from(threads)?) {
                    let (temp, folder) = (temporary.join(number.to_string()), root.join(number.to_string()));
                    let mut file = File::create_new(&temp)?;
                    file.write_all(bytes)?;
                    file.sync_all()?;
                    fs::create_dir(&folder)?;
                    fs::hard_link(&temp, folder.join("profile"))?;
                    File::open(&folder)?.sync_all()?;
                    File::open(root)?.sync_all()?;
                    fs::remove_file(&temp)?;
                }
                Ok(())
            }
        };
        let threads: Vec<_> = (0..threads).map(|first| scope.spawn(worker(first))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })
}
