//! `rollcall upload`: uploads image files, one after the other.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

use super::connection::AccountArgs;
use super::exit::{CommandError, PARTIAL, REJECTED};
use super::output::{CommandOutput, OutputArgs, print_note};
use super::password_input::PasswordArgs;
use super::progress::Progress;
use super::text_table::{Colour, pluralize};
use rollcall_client::{ClientError, Uploads};
use rollcall_core::ImageKind;
use rollcall_core::escape::escape_controls;

/// Largest file that is sent, in bytes. More than the registry accepts, so that the registry
/// reports its own limit.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Arguments of `upload`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall upload --username alice photo.png",
    "rollcall upload --username alice a.png b.jpg c.webp --server http://localhost:3000",
]))]
pub(super) struct UploadArgs {
    #[command(flatten)]
    account: AccountArgs,

    #[command(flatten)]
    password: PasswordArgs,

    /// Image files to upload: PNG, JPEG or WebP, at most 128×128 pixels each
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: UploadArgs) -> Result<(), CommandError> {
    let output = CommandOutput::new(args.output);
    let password = args.password.optional(false)?;
    let mut account = args.account.with_saved_settings()?;
    if let Some(password) = password {
        account.client.log_in_on_demand(account.user.clone(), password);
    }
    let mut uploads = account.client.uploads(&account.user).await?;
    let progress = Progress::new(args.files.len(), "images");
    let (mut stored, mut failed): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    let mut last_error = None;
    for file in &args.files {
        let name = file.display().to_string();
        match upload_file(&mut uploads, file).await {
            Ok(filename) => {
                stored.push(json!({"file": name, "filename": filename}));
                if !output.is_json {
                    let mark = output.paint(Colour::Green, "✓");
                    let line = format!("{mark} {} → {}", escape_controls(&name), escape_controls(&filename));
                    progress.suspend(|| output.line(&line))?;
                }
            }
            Err(error) => {
                // With one file, its error becomes the error of the command.
                if args.files.len() > 1 {
                    progress.suspend(|| print_note(&format!("✗ {name}: {error}")));
                }
                failed.push(json!({"file": name, "error": error.to_string()}));
                last_error = Some(error);
            }
        }
        progress.advance();
    }
    progress.end();
    account.save_new_token()?;
    let (all, good) = (args.files.len(), stored.len());
    if output.is_json {
        output.json(&json!({"username": account.user, "uploaded": stored, "failed": failed}))?;
    }
    match last_error {
        None => Ok(()),
        Some(error) if all == 1 => Err(error),
        Some(_) if good > 0 => {
            Err(CommandError::new(PARTIAL, format!("{good} of {} uploaded", pluralize(all, "image"))))
        }
        Some(error) => Err(error.with_message(format!("none of {} uploaded", pluralize(all, "image")))),
    }
}

/// Uploads one file; returns the name of the stored image.
async fn upload_file(uploads: &mut Uploads, file: &Path) -> Result<String, CommandError> {
    let bytes = read(file).map_err(|error| CommandError::new(REJECTED, format!("cannot read the file: {error}")))?;
    // The registry detects the format itself and ignores this kind. It rejects other formats with
    // an error.
    let kind = detect_kind(&bytes).unwrap_or(ImageKind::Png);
    let uploaded = uploads.send(kind, bytes).await;
    uploaded.map(|uploaded| uploaded.filename).map_err(|error| match error {
        ClientError::Rejected { status: 401, message, .. } => CommandError::new(
            REJECTED,
            format!("{message}; give the password with --password or --password-file, or use rollcall login"),
        ),
        error => error.into(),
    })
}

fn read(file: &Path) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes.into())
}

/// The image format, detected from the first bytes.
fn detect_kind(bytes: &[u8]) -> Option<ImageKind> {
    if bytes.starts_with(b"\x89PNG") {
        Some(ImageKind::Png)
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        Some(ImageKind::Jpeg)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some(ImageKind::WebP)
    } else {
        None
    }
}
