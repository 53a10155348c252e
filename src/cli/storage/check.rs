//! `rollcall storage check`: checks the configured storage step by step.

use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::stores::{env_var, open_existing, random_number};
use crate::cli::exit::{self, CONFIGURATION, CommandError, PARTIAL, STORAGE};
use crate::cli::output::{CommandOutput, OutputArgs};
use crate::cli::signals::run_until_stopped;
use crate::config::{Config, Flags, StorageConfig};
use crate::storage::RetryPolicy;
use crate::storage::bucket_check::{CheckOutcome, CheckStep, Findings, OpenFuture, check_bucket};
use rollcall_core::escape::escape_controls;

/// Remedy for a local directory that is missing.
const DIRECTORY_REMEDY: &str = "start a node, or name the data directory with --data-dir";

/// Arguments of `storage check`.
#[derive(Args, Debug)]
#[command(after_long_help = after_help())]
pub(in crate::cli) struct CheckArgs {
    #[command(flatten)]
    flags: Flags,

    #[command(flatten)]
    options: CheckOptions,
}

/// Options of every check.
#[derive(Args, Debug)]
pub(super) struct CheckOptions {
    /// Deadline of each request
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout_seconds: u64,

    #[command(flatten)]
    output: OutputArgs,
}

/// A finished step in the JSON document.
#[derive(Serialize)]
struct StepRow {
    step: &'static str,
    ok: bool,
    ms: u64,
    /// The cause and the remedy.
    error: Option<String>,
}

fn after_help() -> String {
    let codes = exit::help_lines(exit::STORAGE_CODES);
    format!(
        "\
Examples:
  rollcall storage check
  rollcall storage check --data-dir /var/lib/rollcall
  rollcall storage check --json | jq '.steps[] | select(.ok | not)'
  FIREBASE_BUCKET=your-project.firebasestorage.app rollcall storage check
  S3_BUCKET=my-bucket AWS_REGION=eu-west-1 rollcall storage check
  SHARED_DRIVE_ID=DRIVE REGISTERED_USERS_FOLDER_ID=FOLDER rollcall storage check

Exit codes:{codes}"
    )
}

pub(super) async fn run(args: CheckArgs) -> Result<(), CommandError> {
    let config = Config::read_storage(&env_var, &args.flags)?;
    check(&config, args.options).await
}

/// Checks a store, and prints each step when it ends, or one JSON document at the end.
pub(super) async fn check(config: &StorageConfig, options: CheckOptions) -> Result<(), CommandError> {
    let is_json = options.output.json;
    let print_text = |text: &str| {
        if !is_json {
            print(text);
        }
    };
    print_text(&format!("Checking the {}\n", escape_controls(&config.to_string())));
    let policy = RetryPolicy::with_deadline(Duration::from_secs(options.timeout_seconds));
    let (stop, mut rows, mut all) = (CancellationToken::new(), Vec::new(), Findings::default());
    let open = |page_size| -> OpenFuture<'_> { Box::pin(open_existing(config, page_size, DIRECTORY_REMEDY)) };
    let check = check_bucket(open, policy, random_number(), &stop, |step| {
        print_text(&step_lines(step));
        rows.push(StepRow::new(step));
        if let Ok(findings) = &step.result {
            all.unreadable.extend(findings.unreadable.iter().cloned());
            all.ignored.extend(findings.ignored.iter().cloned());
            all.facts.extend(findings.facts.iter().cloned());
        }
    });
    let outcome = run_until_stopped(&stop, check).await?;
    if is_json {
        CommandOutput::new(options.output).json(&json!({
            "storage": config.to_string(),
            "outcome": outcome_name(outcome),
            "steps": rows,
            "unreadable_profiles": all.unreadable,
            "ignored_fields": all.ignored,
            "facts": all.facts,
        }))?;
    }
    match outcome {
        CheckOutcome::Passed { unreadable_profiles } => {
            print_text(&format!("The storage works.{}\n", unreadable_note(unreadable_profiles)));
            Ok(())
        }
        CheckOutcome::Misconfigured => Err(CommandError::new(CONFIGURATION, "the storage cannot be opened")),
        CheckOutcome::Failed => Err(CommandError::new(STORAGE, "the storage does not work; see the step that failed")),
        CheckOutcome::Stopped => Err(CommandError::new(PARTIAL, "stopped before the last step")),
    }
}

impl StepRow {
    fn new(step: &CheckStep) -> Self {
        let ms = u64::try_from(step.duration.as_millis()).unwrap_or(u64::MAX);
        Self { step: step.name, ok: step.result.is_ok(), ms, error: step.result.as_ref().err().cloned() }
    }
}

/// The value of `outcome` in the JSON document.
fn outcome_name(outcome: CheckOutcome) -> &'static str {
    match outcome {
        CheckOutcome::Passed { .. } => "passed",
        CheckOutcome::Misconfigured => "misconfigured",
        CheckOutcome::Failed => "failed",
        CheckOutcome::Stopped => "stopped",
    }
}

/// Prints progress. A failure is ignored, because the exit code reports the outcome.
fn print(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The lines for a finished step: its name and duration, then its findings or the reason for its
/// failure.
fn step_lines(step: &CheckStep) -> String {
    let (mark, duration_ms) = (if step.result.is_ok() { '✓' } else { '✗' }, step.duration.as_millis());
    let mut lines = format!("  {mark} {:<24}{duration_ms:>6} ms\n", step.name);
    // Writing to a string does not fail.
    let _ = match &step.result {
        Ok(Findings { unreadable, ignored, facts }) => {
            let unreadable = unreadable.iter().map(|finding| ('!', finding));
            let marked = unreadable.chain(ignored.iter().chain(facts).map(|text| ('-', text)));
            marked.into_iter().try_for_each(|(mark, text)| writeln!(lines, "      {mark} {}", escape_controls(text)))
        }
        Err(reason) => writeln!(lines, "      {}", escape_controls(reason)),
    };
    lines
}

/// Remedy for unreadable profiles, as the end of the result. Empty if there are none.
fn unreadable_note(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(" Repair the {count} listed with !, or move them away: their users are not served."),
    }
}
