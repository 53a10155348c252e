//! Reload of the certificate of the API: the files are checked again and again, and a new pair is
//! served to new connections.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};
use url::Url;

use super::api_certificate::{ApiCertificate, ApiCertificateError, ApiCertificateFiles};
use super::api_tls::ApiTls;
use super::certificate_warnings::{CertificateWarning, certificate_warnings};
use crate::http::limits::CERTIFICATE_CHECK_INTERVAL;
use rollcall_core::WallMs;
use rollcall_core::clock::wall_now;

/// Reads the files of the certificate again and again.
///
/// Invariant: a certificate is served until two checks in succession have loaded the same new one
/// without an error. A file that is caught while it is written may hold a part of its chain.
#[derive(Debug)]
pub struct CertificateReload {
    files: ApiCertificateFiles,
    /// Host of the API URL.
    host: String,
    /// The certificates that are served.
    chain: Vec<CertificateDer<'static>>,
    config: watch::Sender<Arc<ServerConfig>>,
    /// The new certificates that the last check found. They are served if the next one finds them.
    candidate: Option<Vec<CertificateDer<'static>>>,
    /// The error of the last check. `None` if the files can be served.
    failure: Option<FailedCheck>,
    /// The warnings that were logged last.
    warnings: Vec<CertificateWarning>,
}

/// A check of the files that found an error.
#[derive(Debug)]
struct FailedCheck {
    error: String,
    is_logged: bool,
}

impl CertificateReload {
    /// Loads the certificate for the first time. `api_url`: base URL of this node's API.
    ///
    /// # Errors
    /// [`ApiCertificateError`] if the files cannot be served.
    pub async fn start(files: ApiCertificateFiles, api_url: &str) -> Result<(Self, ApiTls), ApiCertificateError> {
        let ApiCertificate { chain, config } = files.load().await?;
        let (config, current) = watch::channel(config);
        let host = Url::parse(api_url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let mut reload = Self { files, host, chain, config, candidate: None, failure: None, warnings: Vec::new() };
        reload.log_warnings(wall_now());
        Ok((reload, ApiTls::new(current, api_url)))
    }

    /// Checks the files every `CERTIFICATE_CHECK_INTERVAL`, until the task is cancelled.
    pub async fn run(mut self) {
        loop {
            sleep(CERTIFICATE_CHECK_INTERVAL).await;
            self.check(wall_now()).await;
        }
    }

    /// Serves the pair in the files if it is a new one.
    async fn check(&mut self, now: WallMs) {
        match self.files.load().await {
            Ok(loaded) => {
                self.failure = None;
                if loaded.chain == self.chain {
                    self.candidate = None;
                } else if self.candidate.take().as_ref() == Some(&loaded.chain) {
                    self.chain = loaded.chain;
                    self.config.send_replace(loaded.config);
                    info!(tls_cert = %self.files.cert.display(), "serving a new TLS certificate");
                } else {
                    self.candidate = Some(loaded.chain);
                }
            }
            Err(error) => {
                self.candidate = None;
                self.note_failure(error.to_string());
            }
        }
        self.log_warnings(now);
    }

    /// Logs an error once, when a second check finds it too: the first one may have read the files
    /// while they were being replaced.
    fn note_failure(&mut self, error: String) {
        match &mut self.failure {
            Some(last) if last.error == error => {
                if !std::mem::replace(&mut last.is_logged, true) {
                    warn!(%error, "the new TLS certificate cannot be used; the old one is still served");
                }
            }
            last => *last = Some(FailedCheck { error, is_logged: false }),
        }
    }

    /// Logs the warnings about the served certificate, unless they were logged before.
    fn log_warnings(&mut self, now: WallMs) {
        let certificate = self.chain.first().expect("a chain is not empty");
        let found = certificate_warnings(certificate, &self.host, now);
        if found != self.warnings {
            for problem in &found {
                warn!(tls_cert = %self.files.cert.display(), %problem, "clients refuse the TLS certificate now or soon");
            }
            self.warnings = found;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use rollcall_test_support::certificates::{TestCertificate, test_certificate};

    const NOW: WallMs = WallMs::new(1_790_000_000_000);

    fn write(files: &ApiCertificateFiles, cert: &str, key: &str) {
        fs::write(&files.cert, cert).unwrap();
        fs::write(&files.key, key).unwrap();
    }

    #[tokio::test]
    async fn a_new_pair_is_served_and_a_bad_one_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let files = ApiCertificateFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        assert!(CertificateReload::start(files.clone(), "https://localhost:3000").await.is_err());
        let TestCertificate { cert, key } = test_certificate(|_| ());
        write(&files, &cert, &key);
        let (mut reload, tls) = CertificateReload::start(files.clone(), "https://localhost:3000").await.unwrap();
        let first = tls.config();
        reload.check(NOW).await;
        assert!(Arc::ptr_eq(&first, &tls.config()), "the files are the same");
        let new = test_certificate(|_| ());
        // The certificate is replaced before its key.
        fs::write(&files.cert, &new.cert).unwrap();
        for is_logged in [false, true, true] {
            reload.check(NOW).await;
            assert!(Arc::ptr_eq(&first, &tls.config()));
            assert_eq!(reload.failure.as_ref().unwrap().is_logged, is_logged);
        }
        fs::write(&files.key, &new.key).unwrap();
        reload.check(NOW).await;
        reload.check(NOW).await;
        let second = tls.config();
        assert!(!Arc::ptr_eq(&first, &second) && reload.failure.is_none());
        fs::remove_file(&files.key).unwrap();
        reload.check(NOW).await;
        write(&files, "", &new.key);
        reload.check(NOW).await;
        assert!(!reload.failure.as_ref().unwrap().is_logged, "it is another error");
        assert!(Arc::ptr_eq(&second, &tls.config()));
        write(&files, &new.cert, &new.key);
        reload.check(NOW).await;
        assert!(Arc::ptr_eq(&second, &tls.config()) && reload.failure.is_none(), "the pair is served already");
    }

    #[tokio::test]
    async fn a_chain_that_is_caught_while_it_is_written_is_never_served() {
        let dir = tempfile::tempdir().unwrap();
        let files = ApiCertificateFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let (old, new, authority) = (test_certificate(|_| ()), test_certificate(|_| ()), test_certificate(|_| ()));
        write(&files, &old.cert, &old.key);
        let (mut reload, tls) = CertificateReload::start(files.clone(), "https://localhost:3000").await.unwrap();
        let first = tls.config();
        write(&files, &new.cert, &new.key);
        reload.check(NOW).await;
        assert!(Arc::ptr_eq(&first, &tls.config()), "one check alone may have read a part of the chain");
        write(&files, &format!("{}{}", new.cert, authority.cert), &new.key);
        reload.check(NOW).await;
        assert!(Arc::ptr_eq(&first, &tls.config()), "the checks differ");
        reload.check(NOW).await;
        assert!(!Arc::ptr_eq(&first, &tls.config()));
        assert_eq!(reload.chain.len(), 2);
        // A certificate that was seen once, and then another state, starts anew.
        let served = tls.config();
        write(&files, &old.cert, &old.key);
        reload.check(NOW).await;
        write(&files, "", &old.key);
        reload.check(NOW).await;
        write(&files, &old.cert, &old.key);
        reload.check(NOW).await;
        assert!(Arc::ptr_eq(&served, &tls.config()));
    }
}
