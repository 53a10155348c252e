//! The store in memory.

use std::future::{Ready, ready};
use std::sync::Arc;

use rollcall::storage::{Bucket, Fault, Memory};

use super::suite::{self, PAGE_SIZE, every_behaviour};
use super::troubles::{Trouble, Troubled, every_trouble};

fn open() -> Ready<(Bucket, ())> {
    ready((suite::bucket(Arc::new(Memory::new().with_page_size(PAGE_SIZE))), ()))
}

every_behaviour!(super::memory::open);

impl Troubled for Memory {
    fn bucket(&self) -> Bucket {
        suite::bucket(Arc::new(self.clone()))
    }

    fn inject(&self, count: usize, trouble: Trouble) {
        let fault = match trouble {
            Trouble::Passing => Fault::Transient,
            Trouble::Hopeless => Fault::Permanent,
            Trouble::LostAnswer => Fault::LoseAnswer,
            Trouble::Hang => Fault::Hang,
        };
        self.faults().inject(count, &fault);
    }

    fn calls(&self) -> usize {
        self.faults().calls()
    }
}

fn open_troubled() -> Ready<Memory> {
    ready(Memory::new())
}

every_trouble!(super::memory::open_troubled);
