//! `rollcall storage check`: checks the configured storage step by step.

use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use rand::RngExt;

use super::exit::{self, CONFIGURATION, CommandError, STORAGE};
use crate::config::{Config, Flags, StorageConfig};
use crate::node::open_backend;
use crate::storage::bucket_check::{CheckOutcome, CheckStep, Findings, check_bucket};
use crate::storage::{Backend, RetryPolicy};
use rollcall_core::escape::escape_controls;

/// Commands about the storage.
#[derive(Debug, Subcommand)]
pub(super) enum StorageCommand {
    /// Check the storage step by step, and list profiles that cannot be read
    ///
    /// Uses the storage of the configuration: the bucket of `FIREBASE_BUCKET`, or else the
    /// directory `bucket` in the data directory. Writes one small object below checks/, checks that
    /// a second write of it is refused, reads it, lists it and deletes it. Reads all profiles of
    /// users.
    Check(CheckArgs),
}

/// Arguments of `storage check`.
#[derive(Args, Debug)]
#[command(after_long_help = after_help())]
pub(super) struct CheckArgs {
    #[command(flatten)]
    flags: Flags,

    /// Deadline of each request
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout_seconds: u64,
}

fn after_help() -> String {
    let codes = exit::help_lines(exit::STORAGE_CHECK_CODES);
    format!(
        "\
Examples:
  rollcall storage check
  rollcall storage check --data-dir /var/lib/rollcall
  FIREBASE_BUCKET=your-project.firebasestorage.app rollcall storage check

Exit codes:{codes}"
    )
}

pub(super) async fn run(command: StorageCommand) -> Result<(), CommandError> {
    let StorageCommand::Check(args) = command;
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let config = Config::read_storage(&variable, &args.flags)?;
    print(&format!("Checking the {}\n", escape_controls(&config.to_string())));
    let policy = RetryPolicy::with_deadline(Duration::from_secs(args.timeout_seconds));
    let check = check_bucket("open", Box::pin(open(&config)), policy, random_number(), |step| print(&step_lines(step)));
    match check.await {
        CheckOutcome::Passed { unreadable_profiles } => {
            print(&format!("The storage works.{}\n", unreadable_note(unreadable_profiles)));
            Ok(())
        }
        CheckOutcome::Misconfigured => Err(CommandError::new(CONFIGURATION, "the storage cannot be opened")),
        CheckOutcome::Failed => Err(CommandError::new(STORAGE, "the storage does not work; see the step with ✗")),
    }
}

/// Opens the store. A local directory must exist: the check would create it at a wrong place.
async fn open(config: &StorageConfig) -> Result<Arc<dyn Backend>, String> {
    if let StorageConfig::Local { dir } = config
        && !dir.is_dir()
    {
        let dir = dir.display();
        return Err(format!("there is no directory {dir}; start a node, or name the data directory with --data-dir"));
    }
    open_backend(config).await.map_err(|error| error.to_string())
}

/// Prints progress. A failure is ignored, because the exit code reports the outcome.
fn print(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[expect(clippy::disallowed_methods, reason = "a command may use real randomness")]
fn random_number() -> u32 {
    rand::rng().random()
}

/// The lines for a finished step: its name and duration, then its findings or the reason for its
/// failure.
#[must_use]
pub fn step_lines(step: &CheckStep) -> String {
    let (mark, duration_ms) = (if step.result.is_ok() { '✓' } else { '✗' }, step.duration.as_millis());
    let mut lines = format!("  {mark} {:<24}{duration_ms:>6} ms\n", step.name);
    // Writing to a string does not fail.
    let _ = match &step.result {
        Ok(Findings { unreadable, ignored }) => {
            let marked =
                unreadable.iter().map(|finding| ('!', finding)).chain(ignored.iter().map(|field| ('-', field)));
            marked.into_iter().try_for_each(|(mark, text)| writeln!(lines, "      {mark} {}", escape_controls(text)))
        }
        Err(reason) => writeln!(lines, "      {reason}"),
    };
    lines
}

/// Remedy for unreadable profiles, as the end of the result. Empty if there are none.
#[must_use]
pub fn unreadable_note(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(" Repair the {count} listed with !, or move them away: their users are not served."),
    }
}
