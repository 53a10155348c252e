//! Key pair that the nodes of a cluster share: a self-signed certificate and its private key.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use uuid::Uuid;

use super::link_tls_error::LinkTlsError;
use super::pinned::subject;

/// A self-signed certificate and its private key. Anyone with the private key can act as a node.
///
/// Invariant: the private key is never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct NodeKeyPair {
    certificate: Vec<u8>,
    private_key: Vec<u8>,
}

impl NodeKeyPair {
    /// Makes a new pair. The subject of the certificate names the cluster by a fingerprint of its
    /// id.
    ///
    /// # Errors
    /// [`LinkTlsError::Generation`] if the operating system gives no random numbers.
    pub fn generate(cluster: Uuid) -> Result<Self, LinkTlsError> {
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(LinkTlsError::Generation)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject(cluster));
        let certificate = params.self_signed(&key).map_err(LinkTlsError::Generation)?;
        Ok(Self { certificate: certificate.der().to_vec(), private_key: key.serialize_der() })
    }

    /// A pair from its two parts: a certificate and a key in PKCS #8, both in DER. They are checked
    /// when they are used.
    #[must_use]
    pub fn from_der(certificate: Vec<u8>, private_key: Vec<u8>) -> Self {
        Self { certificate, private_key }
    }

    /// The certificate in DER.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The private key in PKCS #8 and DER.
    #[must_use]
    pub fn reveal_private_key_der(&self) -> &[u8] {
        &self.private_key
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone().into()
    }

    pub(super) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.private_key.clone()).into()
    }
}

impl fmt::Debug for NodeKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKeyPair(…)")
    }
}
