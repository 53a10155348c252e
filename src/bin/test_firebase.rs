//! `cargo run --bin test_firebase`: another name of `rollcall storage check`, for the bucket of the
//! environment.

use std::process::ExitCode;

use clap::Parser;
use rollcall::cli::{TestFirebase, start_test_firebase};

fn main() -> ExitCode {
    start_test_firebase(TestFirebase::parse())
}
