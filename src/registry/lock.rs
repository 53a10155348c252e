//! Locks a mutex, also after a thread panicked that held it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Every operation under these locks leaves its table whole at each step, so a panic elsewhere is no reason to stop.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
