//! Arguments, run; the exit code.

use std::process::ExitCode;

use clap::Parser;
use rollcall::commands::{self, Cli};

fn main() -> ExitCode {
    commands::start(Cli::parse())
}
