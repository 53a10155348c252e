//! `cargo run --bin test_firebase`: checks a real bucket step by step, and reports errors with
//! their remedy.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rand::RngExt;
use rollcall::cli::exit;
use rollcall::cli::storage_check::{step_lines, unreadable_note};
use rollcall::config::DEFAULT_CREDENTIALS;
use rollcall::storage::bucket_check::{CheckOutcome, CheckStep, check_bucket};
use rollcall::storage::{Backend, GcsBackend, GcsConfig, RetryPolicy};
use rollcall_core::BucketName;

/// Checks whether Rollcall can use a Firebase (Google Cloud Storage) bucket
///
/// Writes one small object below checks/, checks that a second write of it is refused, reads it,
/// lists it and deletes it. Reads all profiles of users and lists those that cannot be read. Each
/// step prints its duration. A failed step prints the cause and the remedy. The object is deleted
/// even after a failed step.
#[derive(Parser)]
#[command(version, after_long_help = after_help())]
struct Args {
    /// Deadline of each step
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
  STORAGE_EMULATOR_HOST           host:port of an emulator, which needs no credentials

Exit status:
  0   the bucket works
  {usage:<3} wrong arguments
  {storage:<3} the bucket cannot be reached, refuses a request, or behaves incorrectly
  {configuration:<3} the environment is invalid: no bucket, or no usable credentials

Example:
  FIREBASE_BUCKET=your-project.firebasestorage.app cargo run --bin test_firebase"
    )
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Args::parse();
    let Some(bucket) = env_var("FIREBASE_BUCKET") else {
        eprintln!(
            "error: FIREBASE_BUCKET is not set: give the bucket's name, such as \
             FIREBASE_BUCKET=your-project.firebasestorage.app (Firebase console, Storage)"
        );
        return ExitCode::from(exit::CONFIGURATION);
    };
    let Some(bucket) = BucketName::parse(&bucket) else {
        eprintln!("error: FIREBASE_BUCKET {bucket:?} is not {}", BucketName::EXPECTED);
        return ExitCode::from(exit::CONFIGURATION);
    };
    let config = if let Some(host) = env_var("STORAGE_EMULATOR_HOST") {
        println!("Checking bucket {bucket} of the emulator at {host}");
        GcsConfig::emulator(&bucket, &host)
    } else {
        let key_file = std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").filter(|path| !path.is_empty());
        let key_file = key_file.map_or_else(|| PathBuf::from(DEFAULT_CREDENTIALS), PathBuf::from);
        println!("Checking bucket {bucket} with the credentials in {}", key_file.display());
        GcsConfig::google(&bucket, key_file)
    };
    let policy = RetryPolicy::with_deadline(Duration::from_secs(arguments.timeout_seconds));
    let open = async {
        let backend = GcsBackend::connect(config).await.map_err(|error| error.to_string())?;
        Ok(Arc::new(backend) as Arc<dyn Backend>)
    };
    match check_bucket("credentials", Box::pin(open), policy, random_number(), print_step).await {
        CheckOutcome::Passed { unreadable_profiles } => {
            println!("The bucket works.{}", unreadable_note(unreadable_profiles));
            ExitCode::SUCCESS
        }
        CheckOutcome::Misconfigured => ExitCode::from(exit::CONFIGURATION),
        CheckOutcome::Failed => ExitCode::from(exit::STORAGE),
    }
}

fn print_step(step: &CheckStep) {
    print!("{}", step_lines(step));
}

/// An environment variable. An empty one counts as unset.
fn env_var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

#[expect(clippy::disallowed_methods, reason = "a program may use real randomness")]
fn random_number() -> u32 {
    rand::rng().random()
}
