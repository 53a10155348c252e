//! Certificate of the API and its private key, read from two PEM files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::http::limits::MAX_PEM_BYTES;

/// The only protocol of the API, as ALPN (RFC 7301) names it.
const ALPN: &[u8] = b"http/1.1";

/// The two files of the certificate of the API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiCertificateFiles {
    /// The chain in PEM format, the certificate of this node first.
    pub cert: PathBuf,
    /// The private key in PEM format.
    pub key: PathBuf,
}

/// A certificate that can be served.
#[derive(Clone, Debug)]
pub(super) struct ApiCertificate {
    /// The chain. Not empty; the certificate of this node is the first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Configuration that serves the chain.
    pub(super) config: Arc<ServerConfig>,
}

/// Error of the certificate of the API. The text is one line with the remedy, and shows nothing of
/// the key.
#[derive(Debug, Error)]
pub enum ApiCertificateError {
    /// A file cannot be read.
    #[error("cannot read the {setting} {}: {cause}; put the file there, readable by this node", .path.display())]
    Unreadable {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// The file has no certificate, or a damaged one.
    #[error(
        "the tls_cert {} holds no valid certificate; it must hold certificates in PEM format, that of this node first",
        .0.display()
    )]
    InvalidCertificate(PathBuf),
    /// The file has no private key, or one that is encrypted or of an unknown kind.
    #[error(
        "the tls_key {} holds no usable private key; it must hold one RSA, ECDSA or Ed25519 key in PEM format without \
         a passphrase",
        .0.display()
    )]
    InvalidKey(PathBuf),
    /// The key belongs to another certificate.
    #[error(
        "the tls_key {} does not belong to the first certificate in the tls_cert {}: {cause}; give the key of that \
         certificate, and put the certificate of this node before those of its authorities",
        .files.key.display(), .files.cert.display()
    )]
    Mismatch {
        /// The two files.
        files: ApiCertificateFiles,
        /// The reason.
        cause: rustls::Error,
    },
}

impl ApiCertificateFiles {
    /// Reads the two files and checks that the key belongs to the certificate.
    ///
    /// # Errors
    /// [`ApiCertificateError`] if they cannot be served.
    pub(super) async fn load(&self) -> Result<ApiCertificate, ApiCertificateError> {
        let cert = read("tls_cert", &self.cert).await?;
        let key = read("tls_key", &self.key).await?;
        let chain = CertificateDer::pem_slice_iter(&cert).collect::<Result<Vec<_>, _>>().ok();
        let chain = chain.filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| ApiCertificateError::InvalidCertificate(self.cert.clone()))?;
        // The error of the parser may quote the file.
        let invalid_key = || ApiCertificateError::InvalidKey(self.key.clone());
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| invalid_key())?;
        let provider = ring::default_provider();
        provider.key_provider.load_private_key(key.clone_key()).map_err(|_| invalid_key())?;
        let mismatch = |cause| ApiCertificateError::Mismatch { files: self.clone(), cause };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain.clone(), key))
            .map_err(mismatch)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(ApiCertificate { chain, config: Arc::new(config) })
    }
}

/// Reads a file of at most [`MAX_PEM_BYTES`] bytes.
async fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, ApiCertificateError> {
    let read = async {
        let mut bytes = Vec::new();
        File::open(path).await?.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes).await?;
        if bytes.len() as u64 > MAX_PEM_BYTES {
            return Err(io::Error::other(format!("the file has more than {} KiB", MAX_PEM_BYTES / 1024)));
        }
        Ok(bytes)
    };
    read.await.map_err(|cause| ApiCertificateError::Unreadable { setting, path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use rollcall_test_support::certificates::{TestCertificate, test_certificate};

    /// Two files in a directory of their own.
    struct Files {
        _dir: tempfile::TempDir,
        files: ApiCertificateFiles,
    }

    fn files(cert: &str, key: &str) -> Files {
        let dir = tempfile::tempdir().unwrap();
        let files = ApiCertificateFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        fs::write(&files.cert, cert).unwrap();
        fs::write(&files.key, key).unwrap();
        Files { _dir: dir, files }
    }

    #[tokio::test]
    async fn a_pair_is_loaded_with_its_chain_and_speaks_http_1_only() {
        let TestCertificate { cert, key } = test_certificate(|_| ());
        let other = test_certificate(|_| ()).cert;
        let loaded = files(&format!("{cert}{other}"), &key).files.load().await.unwrap();
        assert_eq!(loaded.chain.len(), 2);
        assert_eq!(loaded.config.alpn_protocols, [b"http/1.1"]);
    }

    #[tokio::test]
    async fn the_error_of_a_pair_that_cannot_be_served_names_the_file_and_never_the_key() {
        let TestCertificate { cert, key } = test_certificate(|_| ());
        let other = test_certificate(|_| ());
        let secret = key.lines().nth(1).unwrap().to_owned();
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let broken_key = key.replace(&secret, &secret.to_lowercase());
        let long = "x".repeat(usize::try_from(MAX_PEM_BYTES).unwrap() + 1);
        for (cert, key, words) in [
            (cert.as_str(), other.key.as_str(), ["does not belong", "key.pem", "cert.pem"]),
            (&other.cert, &key, ["does not belong", "key.pem", "cert.pem"]),
            ("", &key, ["tls_cert", "cert.pem", "PEM format"]),
            (&key, &key, ["tls_cert", "cert.pem", "PEM format"]),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", &key, ["tls_cert", "cert.pem", "PEM format"]),
            (&cert, "", ["tls_key", "key.pem", "PEM format"]),
            (&cert, &cert, ["tls_key", "key.pem", "PEM format"]),
            (&cert, &encrypted, ["tls_key", "key.pem", "without a passphrase"]),
            (&cert, &broken_key, ["tls_key", "key.pem", "PEM format"]),
            (&long, &key, ["cannot read", "tls_cert", "256 KiB"]),
        ] {
            let error = files(cert, key).files.load().await.unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)) && error.lines().count() == 1, "{error}");
            assert!(!error.contains(&secret[..16]) && !error.to_lowercase().contains(&secret[..16].to_lowercase()));
        }
        let Files { _dir, files } = files(&cert, &key);
        fs::remove_file(&files.key).unwrap();
        let error = files.load().await.unwrap_err().to_string();
        assert!(error.contains("cannot read the tls_key") && error.contains("key.pem"), "{error}");
    }
}
