//! `rollcall download`: downloads the online clients and their images into a directory.
//!
//! Files that exist already are not downloaded again, so an interrupted download can be continued.

mod target_dir;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use futures_util::stream::{StreamExt, iter};
use serde::Serialize;

use super::connection::ServerArgs;
use super::exit::{CommandError, PARTIAL, REJECTED, UNREACHABLE};
use super::output::{CommandOutput, OutputArgs, print_note};
use super::progress::Progress;
use super::text_table::{Colour, pluralize};
use rollcall_client::{Client, ClientError};
use rollcall_core::api::OnlineClient;
use rollcall_core::escape::escape_controls;
use rollcall_core::{ImageName, Username};
use target_dir::TargetDir;

/// Number of concurrent requests.
const CONCURRENT_REQUESTS: usize = 8;
/// Number of newest images per client, the same as in `GET /discover_with_images`.
const MAX_IMAGES: usize = 20;

/// Arguments of `download`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall download --server http://localhost:3000",
    "rollcall download --out pictures        # a second run downloads only new images",
]))]
pub(super) struct DownloadArgs {
    /// Directory for the files: one folder for each client, with info.json and its newest 20 images
    #[arg(long, value_name = "DIR", default_value = "online_clients")]
    out: PathBuf,

    #[command(flatten)]
    servers: ServerArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// Image to fetch.
struct ImageToFetch {
    user: Username,
    image: ImageName,
}

/// Result of one fetch.
enum FetchResult {
    /// The image was downloaded; its size in bytes.
    Saved(u64),
    /// The directory contains the image already.
    Unchanged,
}

/// File, or all files of a client, that could not be downloaded.
#[derive(Debug, Serialize)]
struct FailedFile {
    username: Username,
    file: Option<String>,
    error: String,
}

/// Totals of a download; its JSON is the output of `--json`.
#[derive(Debug, Default, Serialize)]
struct DownloadSummary {
    clients: usize,
    images: usize,
    saved: usize,
    already_there: usize,
    bytes: u64,
    failed: Vec<FailedFile>,
}

/// Running download.
struct Download {
    client: Client,
    target: TargetDir,
    /// Whether no server answers any more. If so, the remaining requests are skipped.
    is_unreachable: AtomicBool,
}

pub(super) async fn run(args: DownloadArgs) -> Result<(), CommandError> {
    let output = CommandOutput::new(args.output);
    let client = args.servers.connect()?;
    let online = client.online().await?.online_clients;
    let mut summary = DownloadSummary { clients: online.len(), ..DownloadSummary::default() };
    let dir_text = args.out.display().to_string();
    if online.is_empty() {
        print_note("No clients are online; nothing to download.");
    } else {
        let target = TargetDir::open(&args.out).map_err(|error| {
            CommandError::new(
                REJECTED,
                format!("cannot create the directory {dir_text}: {error}; choose another with --out"),
            )
        })?;
        let download = Download { client, target, is_unreachable: AtomicBool::new(false) };
        let images = download.list_images(online, &mut summary).await;
        download.fetch(images, output, &mut summary).await?;
        if download.is_unreachable.load(Ordering::Relaxed) && summary.saved + summary.already_there == 0 {
            return Err(CommandError::new(UNREACHABLE, summary.first_failure()));
        }
    }
    summary.print(output, &dir_text)
}

impl Download {
    /// Creates the folders of the clients, and lists the images to fetch.
    async fn list_images(&self, online: Vec<OnlineClient>, summary: &mut DownloadSummary) -> Vec<ImageToFetch> {
        let listed = iter(online).map(|client| async move {
            let user = client.username.clone();
            (self.prepare_client(&client).await, user)
        });
        let mut listed = listed.buffered(CONCURRENT_REQUESTS);
        let mut images = Vec::new();
        while let Some((names, user)) = listed.next().await {
            match names {
                Ok(names) => {
                    summary.images += names.len();
                    for name in names {
                        match ImageName::parse(&name) {
                            Ok(image) => images.push(ImageToFetch { user: user.clone(), image }),
                            Err(error) => summary.add_failure(&user, Some(name), error.to_string()),
                        }
                    }
                }
                Err(error) => summary.add_failure(&user, None, error),
            }
        }
        images
    }

    /// Creates the folder of a client; returns the names of its newest images.
    async fn prepare_client(&self, client: &OnlineClient) -> Result<Vec<String>, String> {
        let info = serde_json::to_string(client).expect("all keys are strings") + "\n";
        self.target.prepare_client(&client.username, &info).map_err(|error| error.to_string())?;
        let mut images = self.note_unreachable(self.client.images(&client.username).await)?.images;
        images.drain(..images.len().saturating_sub(MAX_IMAGES));
        Ok(images)
    }

    /// Downloads the images, and prints one line for each.
    async fn fetch(
        &self,
        images: Vec<ImageToFetch>,
        output: CommandOutput,
        summary: &mut DownloadSummary,
    ) -> Result<(), CommandError> {
        let progress = Progress::new(images.len(), "images");
        let fetched = iter(images).map(|wanted| async move { (self.fetch_one(&wanted).await, wanted) });
        let mut fetched = fetched.buffer_unordered(CONCURRENT_REQUESTS);
        while let Some((done, ImageToFetch { user, image })) = fetched.next().await {
            progress.advance();
            // A name of a bucket of another program may contain direction marks.
            let shown = escape_controls(&format!("{user}/{image}"));
            let line = match done {
                Ok(FetchResult::Saved(bytes)) => {
                    summary.saved += 1;
                    summary.bytes += bytes;
                    format!("{} {shown}", output.paint(Colour::Green, "✓"))
                }
                Ok(FetchResult::Unchanged) => {
                    summary.already_there += 1;
                    format!("= {shown}")
                }
                Err(error) => {
                    summary.add_failure(&user, Some(image.to_string()), error);
                    continue;
                }
            };
            if !output.is_json {
                progress.suspend(|| output.line(&line))?;
            }
        }
        progress.end();
        Ok(())
    }

    /// Downloads one image unless the directory contains it already.
    async fn fetch_one(&self, wanted: &ImageToFetch) -> Result<FetchResult, String> {
        if self.is_unreachable.load(Ordering::Relaxed) {
            return Err("skipped, because no server answers any more".to_owned());
        }
        let ImageToFetch { user, image } = wanted;
        let known_etag = self.target.etag(user, image);
        let bytes = self.note_unreachable(self.client.image(user, image, known_etag.as_deref()).await)?;
        match bytes {
            None => Ok(FetchResult::Unchanged),
            Some(bytes) => {
                self.target.save(user, image.as_str(), &bytes).map_err(|error| error.to_string())?;
                Ok(FetchResult::Saved(u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
            }
        }
    }

    /// Converts an error to its text, and records whether the error means that no server answers.
    fn note_unreachable<T>(&self, response: Result<T, ClientError>) -> Result<T, String> {
        response.map_err(|error| {
            if matches!(error, ClientError::DeadlineExceeded { .. }) {
                self.is_unreachable.store(true, Ordering::Relaxed);
            }
            error.to_string()
        })
    }
}

impl DownloadSummary {
    fn add_failure(&mut self, user: &Username, file: Option<String>, error: String) {
        self.failed.push(FailedFile { username: user.clone(), file, error });
    }

    fn first_failure(&self) -> String {
        self.failed.first().map(|failed| failed.error.clone()).unwrap_or_default()
    }

    /// Prints the failures and the totals.
    ///
    /// # Errors
    /// An error with the code `REJECTED` if no file could be saved, or `PARTIAL` if only some
    /// could.
    fn print(&self, output: CommandOutput, dir_text: &str) -> Result<(), CommandError> {
        for FailedFile { username, file, error } in &self.failed {
            let file = file.as_deref().unwrap_or("");
            print_note(&format!("✗ {username}/{file}: {error}"));
        }
        let (failed, done) = (self.failed.len(), self.saved + self.already_there);
        if output.is_json {
            let mut document = serde_json::to_value(self).expect("all keys are strings");
            document["output"] = dir_text.into();
            output.json(&document)?;
        } else {
            print_note(&format!(
                "{}, {}: {} saved ({} bytes), {} unchanged, {failed} failed; in {dir_text}",
                pluralize(self.clients, "client"),
                pluralize(self.images, "image"),
                self.saved,
                self.bytes,
                self.already_there,
            ));
        }
        match (failed, done) {
            (0, _) => Ok(()),
            (_, 0) => Err(CommandError::new(REJECTED, format!("nothing could be saved: {}", self.first_failure()))),
            (failed, _) => Err(CommandError::new(PARTIAL, format!("{} could not be saved", pluralize(failed, "file")))),
        }
    }
}
