//! A panic in the election ends the process.

use std::thread;

/// The process aborts if the election panics: a dead election in a living process would end links as only a dead process
/// may, and would never give up a lease.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// The same for a task, whose panic the runtime would otherwise keep to itself.
pub(crate) async fn abort_on_panic<T>(task: impl Future<Output = T>) -> T {
    let _guard = AbortOnPanic;
    task.await
}
