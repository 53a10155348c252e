//! Runs both suites on the store in memory.

use std::future::{Ready, ready};
use std::sync::Arc;

use rollcall::storage::{Bucket, Fault, MemoryBackend};

use super::failures::{FailingStore, Failure, every_failure};
use super::suite::{self, PAGE_SIZE, every_behaviour};

fn open() -> Ready<(Bucket, ())> {
    ready((suite::bucket(Arc::new(MemoryBackend::new().with_page_size(PAGE_SIZE))), ()))
}

every_behaviour!(super::memory::open);

impl FailingStore for MemoryBackend {
    fn bucket(&self) -> Bucket {
        suite::bucket(Arc::new(self.clone()))
    }

    fn inject(&self, count: usize, failure: Failure) {
        let fault = match failure {
            Failure::Transient => Fault::Transient,
            Failure::Permanent => Fault::Permanent,
            Failure::LostResponse => Fault::LoseResponse,
            Failure::Hang => Fault::Hang,
        };
        self.faults().inject(count, &fault);
    }

    fn calls(&self) -> usize {
        self.faults().calls()
    }
}

fn open_failing() -> Ready<MemoryBackend> {
    ready(MemoryBackend::new())
}

every_failure!(super::memory::open_failing);
