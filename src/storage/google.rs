//! Parts that the stores at Google share: key files and tokens, refusals, and the body of an
//! upload.

mod credentials_file;
mod refusal;
mod token_source;
mod upload_body;

use rand::RngExt;
use reqwest::Response;

pub(super) use credentials_file::{CredentialsFile, GoogleApi};
pub(super) use refusal::{KnownRefusal, MAX_ERROR_BODY_BYTES, NETWORK_REMEDY, Refusal, credentials_error};
pub(super) use token_source::TokenSource;
pub(super) use upload_body::{UploadBody, crc32c_base64};

/// Reads a body up to `limit` bytes. Returns whether that was the whole body.
pub(super) async fn read_at_most(mut response: Response, limit: usize) -> reqwest::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
        if body.len() == limit {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}

/// Random number for the boundary of an upload.
#[expect(clippy::disallowed_methods, reason = "the boundary between the parts of an upload must be random")]
pub(super) fn random_boundary() -> u128 {
    rand::rng().random()
}

/// Installs the cryptography provider of rustls, which the HTTP clients use. Does nothing if the
/// process has installed one already.
pub(super) fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
