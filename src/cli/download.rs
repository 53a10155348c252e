//! `rollcall download`: everybody who is online, with their pictures, into a directory. What is there already is not
//! fetched again, so a download that was cut short goes on where it ended.

mod folder;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use futures_util::stream::{StreamExt, iter};
use serde::Serialize;

use super::connection::ServerArgs;
use super::exit::{Failure, PARTLY, REFUSED, UNREACHABLE};
use super::output::{Output, OutputArgs, note};
use super::progress::Progress;
use super::table::{Colour, count};
use folder::Folder;
use rollcall_client::{Client, ClientError};
use rollcall_core::api::OnlineClient;
use rollcall_core::{ImageName, Username};

/// Requests at once.
const AT_ONCE: usize = 8;
/// The newest pictures of each client, as many as `GET /discover_with_images` has.
const MAX_IMAGES: usize = 20;

/// The flags.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall download --server http://localhost:3000",
    "rollcall download --out pictures        # again: fetches only what is new",
]))]
pub(super) struct DownloadArgs {
    /// Where to put them: a folder for each client, with info.json and its newest 20 images
    #[arg(long, value_name = "DIR", default_value = "online_clients")]
    out: PathBuf,

    #[command(flatten)]
    servers: ServerArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// One picture to fetch.
struct Task {
    user: Username,
    image: ImageName,
}

/// What became of one file.
enum Done {
    Saved(u64),
    Kept,
}

/// What could not be saved, and why.
#[derive(Debug, Serialize)]
struct Failed {
    username: Username,
    file: Option<String>,
    error: String,
}

/// The sum of it.
#[derive(Debug, Default, Serialize)]
struct Summary {
    clients: usize,
    images: usize,
    saved: usize,
    already_there: usize,
    bytes: u64,
    failed: Vec<Failed>,
}

/// A download under way.
struct Download {
    client: Client,
    folder: Folder,
    /// Nobody answers any more: what is left need not be tried.
    is_lost: AtomicBool,
}

pub(super) async fn run(args: DownloadArgs) -> Result<(), Failure> {
    let output = Output::new(args.output);
    let client = args.servers.connect()?;
    let online = client.online().await?.online_clients;
    let mut summary = Summary { clients: online.len(), ..Summary::default() };
    let shown = args.out.display().to_string();
    if online.is_empty() {
        note("No clients are online; nothing to download.");
    } else {
        let folder = Folder::open(&args.out).map_err(|error| {
            Failure::new(REFUSED, format!("cannot make the folder {shown}: {error}; choose another with --out"))
        })?;
        let download = Download { client, folder, is_lost: AtomicBool::new(false) };
        let tasks = download.list(online, &mut summary).await;
        download.fetch(tasks, output, &mut summary).await?;
        if download.is_lost.load(Ordering::Relaxed) && summary.saved + summary.already_there == 0 {
            return Err(Failure::new(UNREACHABLE, summary.first_failure()));
        }
    }
    summary.tell(output, &shown)
}

impl Download {
    /// Makes the clients' folders, and lists what is to be fetched.
    async fn list(&self, online: Vec<OnlineClient>, summary: &mut Summary) -> Vec<Task> {
        let listed = iter(online).map(|client| async move {
            let user = client.username.clone();
            (self.begin(&client).await, user)
        });
        let mut listed = listed.buffered(AT_ONCE);
        let mut tasks = Vec::new();
        while let Some((images, user)) = listed.next().await {
            match images {
                Ok(images) => {
                    summary.images += images.len();
                    for name in images {
                        match ImageName::parse(&name) {
                            Ok(image) => tasks.push(Task { user: user.clone(), image }),
                            Err(error) => summary.fail(&user, Some(name), error.to_string()),
                        }
                    }
                }
                Err(error) => summary.fail(&user, None, error),
            }
        }
        tasks
    }

    async fn begin(&self, client: &OnlineClient) -> Result<Vec<String>, String> {
        let info = serde_json::to_string(client).expect("it has text keys only") + "\n";
        self.folder.begin(&client.username, &info).map_err(|error| error.to_string())?;
        let mut images = self.ask(self.client.images(&client.username).await)?.images;
        images.drain(..images.len().saturating_sub(MAX_IMAGES));
        Ok(images)
    }

    async fn fetch(&self, tasks: Vec<Task>, output: Output, summary: &mut Summary) -> Result<(), Failure> {
        let progress = Progress::new(tasks.len(), "images");
        let fetched = iter(tasks).map(|task| async move { (self.fetch_one(&task).await, task) });
        let mut fetched = fetched.buffer_unordered(AT_ONCE);
        while let Some((done, Task { user, image })) = fetched.next().await {
            progress.advance();
            // A user's name and an image's have been read as such, so nothing in them is an escape.
            let line = match done {
                Ok(Done::Saved(bytes)) => {
                    summary.saved += 1;
                    summary.bytes += bytes;
                    format!("{} {user}/{image}", output.paint(Colour::Green, "✓"))
                }
                Ok(Done::Kept) => {
                    summary.already_there += 1;
                    format!("= {user}/{image}")
                }
                Err(error) => {
                    summary.fail(&user, Some(image.to_string()), error);
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

    async fn fetch_one(&self, task: &Task) -> Result<Done, String> {
        if self.is_lost.load(Ordering::Relaxed) {
            return Err("not tried: no server answers any more".to_owned());
        }
        let Task { user, image } = task;
        let known = self.folder.tag(user, image);
        let bytes = self.ask(self.client.image(user, image, known.as_deref()).await)?;
        match bytes {
            None => Ok(Done::Kept),
            Some(bytes) => {
                self.folder.save(user, image.as_str(), &bytes).map_err(|error| error.to_string())?;
                Ok(Done::Saved(u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
            }
        }
    }

    fn ask<T>(&self, answer: Result<T, ClientError>) -> Result<T, String> {
        answer.map_err(|error| {
            if matches!(error, ClientError::DeadlineExceeded { .. }) {
                self.is_lost.store(true, Ordering::Relaxed);
            }
            error.to_string()
        })
    }
}

impl Summary {
    fn fail(&mut self, user: &Username, file: Option<String>, error: String) {
        self.failed.push(Failed { username: user.clone(), file, error });
    }

    fn first_failure(&self) -> String {
        self.failed.first().map(|failed| failed.error.clone()).unwrap_or_default()
    }

    fn tell(&self, output: Output, shown: &str) -> Result<(), Failure> {
        for Failed { username, file, error } in &self.failed {
            let file = file.as_deref().unwrap_or("");
            note(&format!("✗ {username}/{file}: {error}"));
        }
        let (failed, done) = (self.failed.len(), self.saved + self.already_there);
        if output.is_json {
            let mut document = serde_json::to_value(self).expect("it has text keys only");
            document["output"] = shown.into();
            output.json(&document)?;
        } else {
            note(&format!(
                "{}, {}: {} saved ({} bytes), {} there already, {failed} failed; in {shown}",
                count(self.clients, "client"),
                count(self.images, "image"),
                self.saved,
                self.bytes,
                self.already_there,
            ));
        }
        match (failed, done) {
            (0, _) => Ok(()),
            (_, 0) => Err(Failure::new(REFUSED, format!("nothing could be saved: {}", self.first_failure()))),
            (failed, _) => Err(Failure::new(PARTLY, format!("{} could not be saved", count(failed, "file")))),
        }
    }
}
