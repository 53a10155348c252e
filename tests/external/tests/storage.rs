//! The suites of `tests/it/storage`, which every store must pass, on real servers.

mod azure;
#[path = "../../it/storage/failures.rs"]
mod failures;
#[path = "../../it/storage/object_store_faults.rs"]
mod object_store_faults;
mod s3;
#[path = "../../it/storage/suite.rs"]
mod suite;
