//! A registry on a store in memory.

use std::sync::Arc;
use std::time::Duration;

use super::{NewUser, Registry, Settings};
use crate::domain::{BootMs, Metadata, Username, WallMs};
use crate::storage::{Bucket, Memory, RetryPolicy};

/// When registrations of tests happen.
pub(super) fn wall() -> WallMs {
    WallMs::new(1_733_511_234_567)
}

/// A registry that started at 0, and what it stores in. Calls are not tried twice, so that each fault is seen.
pub(super) fn registry() -> (Registry, Memory) {
    let memory = Memory::new();
    (registry_on(&memory), memory)
}

/// Another registry on the same store, as another node has it.
pub(super) fn registry_on(memory: &Memory) -> Registry {
    let pause = Duration::from_millis(1);
    let policy = RetryPolicy { deadline: Duration::from_secs(5), attempts: 1, first_pause: pause };
    Registry::new(Bucket::new(Arc::new(memory.clone()), policy), Settings { ttl_ms: 30_000 }, BootMs(0))
}

pub(super) fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

/// A user with nothing but a name.
pub(super) fn user(username: &str) -> NewUser {
    NewUser { username: name(username), addr: None, password: None, metadata: Metadata::new() }
}
