//! Pinned certificates: the certificate of another node must be one of the known ones, byte for
//! byte, and the node must prove with a signature that it has the private key.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Beginning of the subject of each certificate. The fingerprint of the cluster follows.
const SUBJECT_PREFIX: &str = "rollcall cluster ";

/// Length of a fingerprint, in hexadecimal digits.
const FINGERPRINT_DIGITS: usize = 16;

/// Verifier of the certificates at both ends of a link.
#[derive(Debug)]
pub(super) struct PinnedCertificates {
    cluster: Uuid,
    accepted: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Digest of a bucket's id, which the certificates of its cluster name.
///
/// An acceptor shows its certificate to every program that connects, so it does not tell the id.
/// Nobody can compute the id from the digest.
#[must_use]
pub fn bucket_fingerprint(cluster: Uuid) -> String {
    let digest = Sha256::digest(["rollcall cluster id".as_bytes(), cluster.as_bytes()].concat());
    let first = digest.iter().take(FINGERPRINT_DIGITS / 2).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{first:0FINGERPRINT_DIGITS$x}")
}

/// The subject of the certificates of a cluster.
pub(super) fn subject(cluster: Uuid) -> String {
    format!("{SUBJECT_PREFIX}{}", bucket_fingerprint(cluster))
}

/// The fingerprint in the subject of a certificate, if it is of a cluster. It needs no parser:
/// the prefix is unlikely elsewhere, and the result is only for a message.
fn fingerprint(certificate: &CertificateDer<'_>) -> Option<String> {
    let prefix = SUBJECT_PREFIX.as_bytes();
    let start = certificate.windows(prefix.len()).position(|window| window == prefix)? + prefix.len();
    let digits = certificate.get(start..start + FINGERPRINT_DIGITS)?;
    digits.iter().all(u8::is_ascii_hexdigit).then(|| String::from_utf8_lossy(digits).into_owned())
}

impl PinnedCertificates {
    pub(super) fn new(
        cluster: Uuid,
        accepted: Vec<CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { cluster, accepted, algorithms }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.accepted.iter().any(|accepted| accepted == certificate) {
            return Ok(());
        }
        let own = bucket_fingerprint(self.cluster);
        Err(Error::General(match fingerprint(certificate) {
            Some(theirs) if theirs == own => {
                "its certificate is of this cluster, but it is none of the node keys that \
                                              this node read from the bucket"
                    .to_owned()
            }
            Some(theirs) => format!(
                "its bucket has the fingerprint {theirs}, this node's has {own}: let all nodes use the same storage \
                 (FIREBASE_BUCKET, S3_BUCKET, AZURE_CONTAINER, or else data_dir)"
            ),
            None => "its certificate is not of a cluster".to_owned(),
        }))
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

/// The error of the calls for TLS 1.2, which the configurations do not allow.
fn tls12_error() -> Error {
    Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
}

impl ServerCertVerifier for PinnedCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_error())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PinnedCertificates {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_error())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::NodeKeyPair;

    #[test]
    fn a_mismatch_names_the_fingerprints_of_both_buckets() {
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let pair = |cluster| NodeKeyPair::generate(cluster).unwrap().certificate();
        let algorithms = crate::tls::provider().signature_verification_algorithms;
        let pinned = PinnedCertificates::new(own, vec![pair(own)], algorithms);
        let error = |certificate: CertificateDer<'_>| pinned.check(&certificate).unwrap_err().to_string();
        let text = error(pair(other));
        for cluster in [own, other] {
            assert!(text.contains(&bucket_fingerprint(cluster)) && !text.contains(&cluster.to_string()), "{text}");
        }
        assert!(error(pair(own)).contains("is of this cluster"));
        assert!(error(CertificateDer::from(vec![1, 2, 3])).contains("not of a cluster"));
        assert!(pinned.check(&pinned.accepted[0]).is_ok());
    }
}
