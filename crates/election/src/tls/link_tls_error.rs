//! Errors of certificates and keys for the links.

use thiserror::Error;

/// A certificate or key that cannot be used. `Display` shows no key.
#[derive(Debug, Error)]
pub enum LinkTlsError {
    /// The certificate and its private key do not belong together, or one of them is not valid.
    #[error("the certificate and its private key cannot be used: {0}")]
    KeyPair(rustls::Error),
    /// The certificates of the authority cannot be used.
    #[error("the certificates of the authority cannot be used: {0}")]
    Authority(String),
    /// No key pair could be made.
    #[error("cannot make a key pair: {0}")]
    Generation(rcgen::Error),
}
