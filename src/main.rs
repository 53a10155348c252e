//! Arguments, run; the exit code.

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::Parser;
use rollcall::commands::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match commands::runtime(&cli) {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start the threads of the runtime: {error}"));
            return ExitCode::from(commands::exit::SYSTEM);
        }
    };
    let ended = runtime.block_on(commands::run(cli));
    // What must be finished has been waited for; a disk that hangs must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.to_string());
            failure.code()
        }
    }
}

/// Whether anybody can read it or not, the exit code says the same.
fn complain(what: &str) {
    let _ = writeln!(stderr(), "error: {what}");
}
