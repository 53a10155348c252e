//! Certificate authorities that a client trusts.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use reqwest::Certificate;
use thiserror::Error;

/// Largest file with certificates, in bytes. The bundle of a system has about 200 KiB.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Certificate authorities that a client trusts: those of the system, or only those of a file.
#[derive(Clone, Default)]
pub struct TrustedAuthorities(Option<Vec<Certificate>>);

/// The file of the authorities cannot be used. The text is one line with the remedy.
#[derive(Debug, Error)]
pub enum InvalidAuthorities {
    /// The file cannot be read.
    #[error("cannot read the CA file {}: {cause}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// The file has no certificate, or a damaged one.
    #[error("the CA file {} holds no valid certificate; it must hold certificates in PEM format", .0.display())]
    NoCertificate(PathBuf),
}

impl TrustedAuthorities {
    /// Only the authorities whose certificates are in this PEM file. It may also hold the
    /// self-signed certificate of a node.
    ///
    /// # Errors
    /// [`InvalidAuthorities`] if the file cannot be used.
    pub fn from_pem_file(path: &Path) -> Result<Self, InvalidAuthorities> {
        let unreadable = |cause| InvalidAuthorities::Unreadable { path: path.to_owned(), cause };
        let mut pem = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut pem).map_err(unreadable)?;
        if pem.len() as u64 > MAX_BYTES {
            return Err(unreadable(io::Error::other(format!("the file has more than {MAX_BYTES} bytes"))));
        }
        let certificates = Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
        let certificates = certificates.ok_or_else(|| InvalidAuthorities::NoCertificate(path.to_owned()))?;
        Ok(Self(Some(certificates)))
    }

    /// The certificates of the file. `None` for the authorities of the system.
    pub(super) fn of_file(&self) -> Option<&[Certificate]> {
        self.0.as_deref()
    }
}

impl fmt::Debug for TrustedAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.as_ref().map(Vec::len);
        f.debug_tuple("TrustedAuthorities").field(&count).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_file_without_certificates_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let error = |path: &Path| TrustedAuthorities::from_pem_file(path).unwrap_err().to_string();
        assert!(error(&path).starts_with("cannot read the CA file ") && error(&path).contains("ca.pem"));
        for text in [
            "",
            "no PEM",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(error(&path).contains("holds no valid certificate"), "{text:?}");
        }
        std::fs::write(&path, vec![b' '; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap();
        assert!(error(&path).contains("more than"));
    }
}
