//! Guard that ends the process when an election thread or task panics.

use std::thread;

/// Drop guard that aborts the process on a panic, so that the election never dies while its process
/// lives. The operating system then closes the links in order, which proves the death to the other
/// nodes (rule 5).
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// Runs a task under the same guard. Without it the runtime would catch the panic of the task.
pub(crate) async fn abort_on_panic<T>(task: impl Future<Output = T>) -> T {
    let _guard = AbortOnPanic;
    task.await
}
