//! `cargo run --bin test_firebase`: checks a real bucket step by step, and says what is wrong and how to mend it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rand::RngExt;
use rollcall::cli::exit;
use rollcall::config::DEFAULT_CREDENTIALS;
use rollcall::storage::check::{Step, Verdict, check};
use rollcall::storage::{GcsConfig, RetryPolicy};

/// Checks whether Rollcall can use a Firebase (Google Cloud Storage) bucket
///
/// Writes one small object below checks/, sees that a second write of it is refused, reads it, lists it and deletes it
/// again. Each step shows its time; a step that fails shows its cause and what to do about it. What was written is
/// deleted even after a failed step.
#[derive(Parser)]
#[command(version, after_long_help = after_help())]
struct Arguments {
    /// How long each step may take before it counts as failed
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout_seconds: u64,
}

fn after_help() -> String {
    let (usage, storage, configuration) = (exit::USAGE, exit::STORAGE, exit::CONFIGURATION);
    format!(
        "\
Environment:
  FIREBASE_BUCKET                 the bucket's name, such as your-project.firebasestorage.app
                                  (Firebase console, Storage)
  GOOGLE_APPLICATION_CREDENTIALS  the key file of a service account that has the role \"Storage Object Admin\"
                                  (default: {DEFAULT_CREDENTIALS})
  STORAGE_EMULATOR_HOST           host:port of an emulator; no credentials are used then

Exit status:
  0   the bucket works
  {usage:<3} wrong arguments
  {storage:<3} the bucket cannot be reached, refuses, or does not do what it should
  {configuration:<3} the environment is wrong: no bucket named, or no usable credentials

Example:
  FIREBASE_BUCKET=your-project.firebasestorage.app cargo run --bin test_firebase"
    )
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(bucket) = variable("FIREBASE_BUCKET") else {
        eprintln!(
            "error: FIREBASE_BUCKET is not set: give the bucket's name, such as \
             FIREBASE_BUCKET=your-project.firebasestorage.app (Firebase console, Storage)"
        );
        return ExitCode::from(exit::CONFIGURATION);
    };
    let config = if let Some(host) = variable("STORAGE_EMULATOR_HOST") {
        println!("Checking bucket {bucket} of the emulator at {host}");
        GcsConfig::emulator(&bucket, &host)
    } else {
        let key_file = std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").filter(|path| !path.is_empty());
        let key_file = key_file.map_or_else(|| PathBuf::from(DEFAULT_CREDENTIALS), PathBuf::from);
        println!("Checking bucket {bucket} with the credentials in {}", key_file.display());
        GcsConfig::google(&bucket, key_file)
    };
    let policy = RetryPolicy::with_deadline(Duration::from_secs(arguments.timeout_seconds));
    match check(config, policy, draw_number(), show).await {
        Verdict::Works => {
            println!("The bucket works.");
            ExitCode::SUCCESS
        }
        Verdict::Misconfigured => ExitCode::from(exit::CONFIGURATION),
        Verdict::Failed => ExitCode::from(exit::STORAGE),
    }
}

fn show(step: &Step) {
    let took_ms = step.took.as_millis();
    match &step.outcome {
        Ok(()) => println!("  ✓ {:<24}{took_ms:>6} ms", step.name),
        Err(why) => println!("  ✗ {:<24}{took_ms:>6} ms\n      {why}", step.name),
    }
}

/// A variable that is set to nothing counts as not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

#[expect(clippy::disallowed_methods, reason = "this is the program's edge")]
fn draw_number() -> u32 {
    rand::rng().random()
}
