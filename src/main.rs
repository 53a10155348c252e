//! Entry point of the program: parses the command line, runs the command, returns the exit code.

use std::process::ExitCode;

use clap::Parser;
use rollcall::cli::{self, Cli};

fn main() -> ExitCode {
    cli::start(Cli::parse())
}
