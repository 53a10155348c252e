//! `rollcall storage copy`: copies all users and images from one store to another.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stores::{env_var, open_read_only, random_number};
use crate::cli::exit::{self, CONFIGURATION, CommandError, PARTIAL, STORAGE, USAGE};
use crate::cli::output::{CommandOutput, OutputArgs, print_note};
use crate::cli::progress::Progress;
use crate::cli::signals::run_until_stopped;
use crate::config::{Config, Flags, StorageConfig, StoreLocator};
use crate::node::open_backend;
use crate::storage::bucket_copy::{CopyEnd, CopyEvent, CopyResult, copy_bucket, has_users};
use crate::storage::{
    AzureConfig, Bucket, MemoryBackend, PreconditionError, RetryPolicy, S3Config, check_preconditions,
};

/// Most objects in each list of the JSON document, so that the document is bounded. The counts
/// count all of them.
const MAX_LISTED: usize = 1000;
/// Most failures with one cause that are printed. A store that does not work fails for each object
/// alike, and the lines would hide what else was found.
const MAX_LINES_PER_CAUSE: usize = 3;
/// Most causes whose failures are counted, so that the memory is bounded. Failures with other
/// causes are printed.
const MAX_CAUSES: usize = 100;

/// Remedy for a local directory that is missing.
const DIRECTORY_REMEDY: &str = "name the directory of the bucket, such as local:data/bucket";

/// Note at the end of a copy that succeeded.
const LAST_PASS: &str = "The last pass needs stopped nodes: stop all nodes of both stores, copy again, and then start \
    nodes on the target.";

/// Arguments of `storage copy`.
#[derive(Args, Debug)]
#[command(after_long_help = after_help())]
pub(in crate::cli) struct CopyArgs {
    /// Store to read: local:PATH (the directory "bucket" of a data directory), gcs:BUCKET,
    /// s3:BUCKET[/PREFIX], azure:CONTAINER[/PREFIX] or drive:DRIVE/FOLDER (two ids of Google Drive)
    #[arg(long, value_name = "STORE")]
    from: StoreLocator,

    /// Store to write; a local directory is created
    #[arg(long, value_name = "STORE")]
    to: StoreLocator,

    /// Show what a copy would write, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Deadline of each request
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout_seconds: u64,

    /// Configuration file with credentials and endpoints [default: config.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,

    #[command(flatten)]
    output: OutputArgs,
}

fn after_help() -> String {
    let codes = exit::help_lines(exit::STORAGE_CODES);
    format!(
        "\
Examples:
  rollcall storage copy --from local:data/bucket --to gcs:your-project.firebasestorage.app
  rollcall storage copy --from local:data/bucket --to local:/mnt/backup/bucket --dry-run
  rollcall storage copy --from gcs:your-project.firebasestorage.app --to s3:my-bucket/rollcall
  rollcall storage copy --from drive:0AExampleDriveIdPVA/1Example-FolderId --to local:backup

Credentials and endpoints are those of the settings of each kind of store (docs/configuration.md).

Exit codes:{codes}"
    )
}

/// An object that was not copied.
#[derive(Debug, Serialize)]
struct NotCopied {
    object: String,
    reason: String,
}

/// Counts of a copy, as in the JSON document.
#[derive(Debug, Default, Serialize)]
struct CopyTotals {
    users: usize,
    created: usize,
    replaced: usize,
    unchanged: usize,
    newer_in_target: usize,
    ignored: usize,
    conflicts: usize,
    failed: usize,
    bytes: usize,
    conflict_list: Vec<NotCopied>,
    failed_list: Vec<NotCopied>,
    /// The number of failures for each cause without the object's path, and the first object.
    #[serde(skip)]
    causes: BTreeMap<String, (usize, String)>,
}

pub(super) async fn run(args: CopyArgs) -> Result<(), CommandError> {
    let output = CommandOutput::new(args.output);
    let flags = Flags { config: args.config, ..Flags::default() };
    let from = Config::read_store(&env_var, &flags, "--from", &args.from)?;
    let to = Config::read_store(&env_var, &flags, "--to", &args.to)?;
    refuse_overlap(&from, &to)?;
    let policy = RetryPolicy::with_deadline(Duration::from_secs(args.timeout_seconds));
    let source = open_source(&from, policy).await?;
    let target = open_target(&to, args.dry_run, policy).await?;
    let verb = if args.dry_run { "Comparing" } else { "Copying" };
    print_note(&format!("{verb} from the {from} to the {to}"));

    let (stop, start) = (CancellationToken::new(), Instant::now());
    let (progress, totals) = (Progress::open_ended("users"), RefCell::new(CopyTotals::default()));
    let report = |event: CopyEvent<'_>| match event {
        CopyEvent::UsersFound(count) => progress.add_steps(count),
        CopyEvent::UserDone => {
            totals.borrow_mut().users += 1;
            progress.advance();
        }
        CopyEvent::Object { path, result } => {
            if let Some(line) = totals.borrow_mut().add(path, result) {
                progress.suspend(|| print_note(&line));
            }
        }
    };
    let copy = async {
        // The system itself keeps the preconditions of a local directory.
        if !args.dry_run && !matches!(to, StorageConfig::Local { .. }) {
            check_preconditions(&target, random_number()).await.map_err(|error| target_error(&error))?;
        }
        Ok(copy_bucket(&source, &target, args.dry_run, &stop, report).await)
    };
    let end: CopyEnd = run_until_stopped(&stop, copy).await?.inspect_err(|_: &CommandError| progress.end())?;
    progress.end();
    let totals = totals.into_inner();
    totals.further_failures().for_each(|line| print_note(&line));
    if output.is_json {
        let mut document = serde_json::to_value(&totals).expect("all keys are strings");
        document["from"] = json!(args.from.to_string());
        document["to"] = json!(args.to.to_string());
        document["dry_run"] = json!(args.dry_run);
        document["end"] = json!(end_name(&end));
        document["ms"] = json!(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
        output.json(&document)?;
    } else {
        output.line(&totals.line(args.dry_run))?;
    }
    totals.into_result(&end)?;
    if !args.dry_run {
        print_note(LAST_PASS);
    }
    Ok(())
}

/// Refuses two places that are one, or of which one contains the other. In one place a copy would
/// find that everything is there; and the objects of the inner place would appear among those of
/// the outer one.
fn refuse_overlap(from: &StorageConfig, to: &StorageConfig) -> Result<(), CommandError> {
    let overlap = match (from, to) {
        (StorageConfig::Local { dir: from, .. }, StorageConfig::Local { dir: to, .. }) => {
            overlap_of(&resolved(from), &resolved(to))
        }
        (StorageConfig::S3(from), StorageConfig::S3(to)) => {
            let whole = |config: &S3Config| S3Config { prefix: String::new(), ..config.clone() };
            overlap_of(Path::new(&from.prefix), Path::new(&to.prefix)).filter(|_| whole(from) == whole(to))
        }
        (StorageConfig::Azure(from), StorageConfig::Azure(to)) => {
            let whole = |config: &AzureConfig| AzureConfig { prefix: String::new(), ..config.clone() };
            overlap_of(Path::new(&from.prefix), Path::new(&to.prefix)).filter(|_| whole(from) == whole(to))
        }
        // Only the files directly in a folder are read, so folders in folders do not overlap.
        (StorageConfig::Drive(from), StorageConfig::Drive(to)) => {
            ((&from.folder, &from.endpoint) == (&to.folder, &to.endpoint)).then_some(Overlap::Same)
        }
        (from, to) => (from == to).then_some(Overlap::Same),
    };
    match overlap {
        None => Ok(()),
        Some(Overlap::Same) => Err(CommandError::new(USAGE, format!("--from and --to are the same store, the {from}"))),
        Some(Overlap::Inside) => Err(CommandError::new(
            USAGE,
            format!(
                "--from and --to overlap: one of them contains the other, the {from} and the {to}; name two separate \
                 places"
            ),
        )),
    }
}

/// Relation of two places that share objects.
enum Overlap {
    Same,
    Inside,
}

fn overlap_of(from: &Path, to: &Path) -> Option<Overlap> {
    match (from.starts_with(to), to.starts_with(from)) {
        (true, true) => Some(Overlap::Same),
        (false, false) => None,
        (true, false) | (false, true) => Some(Overlap::Inside),
    }
}

/// The absolute path without symbolic links, also if its last parts do not exist yet.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, mut resolved)) = found else { return path };
    for part in path.strip_prefix(above).into_iter().flat_map(Path::components) {
        match part {
            Component::ParentDir => drop(resolved.pop()),
            part => resolved.push(part),
        }
    }
    resolved
}

/// Opens the source for reading only. A source without users is a wrong place more often than an
/// empty store, and a copy of it would look like a backup.
async fn open_source(config: &StorageConfig, policy: RetryPolicy) -> Result<Bucket, CommandError> {
    let backend = open_read_only(config, DIRECTORY_REMEDY).await.map_err(|error| cannot_open("source", error))?;
    let source = Bucket::new(backend, policy);
    match has_users(&source).await {
        Ok(true) => Ok(source),
        Ok(false) => {
            let remedy = match config {
                StorageConfig::Local { .. } => DIRECTORY_REMEDY,
                StorageConfig::Gcs { .. } => "check the name of the bucket",
                StorageConfig::S3(_) => "check the bucket and the prefix, s3:BUCKET[/PREFIX]",
                StorageConfig::Azure(_) => "check the container and the prefix, azure:CONTAINER[/PREFIX]",
                StorageConfig::Drive(_) => "check the ids of the drive and of the folder",
            };
            Err(CommandError::new(CONFIGURATION, format!("the source has no users: the {config}; {remedy}")))
        }
        Err(error) => Err(CommandError::new(STORAGE, format!("cannot list the users of the source: {error}"))),
    }
}

/// Opens the target, for reading only in a dry run. A dry run does not create a directory: a
/// missing one counts as an empty store.
async fn open_target(config: &StorageConfig, is_dry_run: bool, policy: RetryPolicy) -> Result<Bucket, CommandError> {
    let is_missing = matches!(config, StorageConfig::Local { dir, .. } if !dir.exists());
    let backend = if is_dry_run && is_missing {
        Arc::new(MemoryBackend::new())
    } else if is_dry_run {
        open_read_only(config, DIRECTORY_REMEDY).await.map_err(|error| cannot_open("target", error))?
    } else {
        open_backend(config, None).await.map_err(|error| cannot_open("target", error.into()))?
    };
    Ok(Bucket::new(backend, policy))
}

fn cannot_open(store: &str, error: CommandError) -> CommandError {
    let message = format!("cannot open the {store}: {error}");
    error.with_message(message)
}

/// The error for a target that must not be written, or does not respond. The codes are those of a
/// node that starts on such a store.
fn target_error(error: &PreconditionError) -> CommandError {
    let code = match error {
        PreconditionError::Bucket(_) => STORAGE,
        PreconditionError::NotHonoured { .. } | PreconditionError::RefusedWriteTookEffect { .. } => CONFIGURATION,
    };
    CommandError::new(code, format!("cannot use the target: {error}"))
}

/// The value of `end` in the JSON document.
fn end_name(end: &CopyEnd) -> &'static str {
    match end {
        CopyEnd::Complete => "complete",
        CopyEnd::Stopped => "stopped",
        CopyEnd::GaveUp => "gave_up",
        CopyEnd::NotListed(_) => "not_listed",
    }
}

impl CopyTotals {
    /// Counts an object. Returns the line about an object that was not copied.
    fn add(&mut self, path: &str, result: &CopyResult) -> Option<String> {
        let not_copied = |reason: &str| NotCopied { object: path.to_owned(), reason: reason.to_owned() };
        match result {
            CopyResult::Created { bytes } => {
                self.created += 1;
                self.bytes += bytes;
            }
            CopyResult::Replaced { bytes } => {
                self.replaced += 1;
                self.bytes += bytes;
            }
            CopyResult::Unchanged => self.unchanged += 1,
            CopyResult::TargetIsNewer => self.newer_in_target += 1,
            CopyResult::Ignored => {
                self.ignored += 1;
                return Some(format!("- {path}: ignored, because Rollcall does not read it"));
            }
            CopyResult::Conflict(reason) => {
                self.conflicts += 1;
                if self.conflict_list.len() < MAX_LISTED {
                    self.conflict_list.push(not_copied(reason));
                }
                return Some(format!("! {path}: not overwritten, because {reason}"));
            }
            CopyResult::Failed(reason) => {
                self.failed += 1;
                if self.failed_list.len() < MAX_LISTED {
                    self.failed_list.push(not_copied(reason));
                }
                return self.is_printed(path, reason).then(|| format!("✗ {path}: {reason}"));
            }
        }
        None
    }

    /// Counts a failure by its cause. Returns whether it is one of the first ones, which are
    /// printed.
    fn is_printed(&mut self, path: &str, reason: &str) -> bool {
        // The reason names the object too.
        let cause = reason.replace(path, "");
        if self.causes.len() >= MAX_CAUSES && !self.causes.contains_key(&cause) {
            return true;
        }
        let (count, _) = self.causes.entry(cause).or_insert_with(|| (0, path.to_owned()));
        *count += 1;
        *count <= MAX_LINES_PER_CAUSE
    }

    /// A line for each cause with failures that were not printed.
    fn further_failures(&self) -> impl Iterator<Item = String> {
        self.causes.values().filter(|(count, _)| *count > MAX_LINES_PER_CAUSE).map(|(count, first)| {
            format!("✗ {} more failed for the same cause as {first}", count - MAX_LINES_PER_CAUSE)
        })
    }

    /// The totals in one line.
    fn line(&self, is_dry_run: bool) -> String {
        let would = if is_dry_run { " (dry run: nothing was written)" } else { "" };
        format!(
            "users: {}; objects: {} created, {} replaced, {} unchanged, {} newer in the target, {} ignored, {} in conflict, \
             {} failed; {} bytes{would}",
            self.users,
            self.created,
            self.replaced,
            self.unchanged,
            self.newer_in_target,
            self.ignored,
            self.conflicts,
            self.failed,
            self.bytes
        )
    }

    fn into_result(self, end: &CopyEnd) -> Result<(), CommandError> {
        let answered = self.created + self.replaced + self.unchanged + self.newer_in_target + self.conflicts;
        // If no object could be compared, the copy has no part that a script could use.
        let code = if answered == 0 { STORAGE } else { PARTIAL };
        match end {
            CopyEnd::NotListed(error) => Err(CommandError::new(code, error.to_string())),
            CopyEnd::GaveUp => {
                Err(CommandError::new(code, "gave up, because a store does not work any more; copy again later"))
            }
            CopyEnd::Stopped => Err(CommandError::new(PARTIAL, "stopped; copy again to continue")),
            CopyEnd::Complete if self.conflicts + self.failed > 0 => Err(CommandError::new(
                code,
                format!("{} in conflict and {} failed; see the lines with ! and ✗", self.conflicts, self.failed),
            )),
            CopyEnd::Complete => Ok(()),
        }
    }
}
