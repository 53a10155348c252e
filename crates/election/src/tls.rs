//! TLS 1.3 of the links between nodes: certificates of both ends, and the rules by which they are
//! accepted.
//!
//! By default the nodes of a cluster share one key pair from their bucket. Each node presents its
//! certificate and accepts the known certificates byte for byte. So names, dates and clocks do not
//! matter.

mod key_pair;
mod link_tls_error;
mod pinned;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::watch;
use uuid::Uuid;

pub use key_pair::NodeKeyPair;
pub use link_tls_error::LinkTlsError;
use pinned::PinnedCertificates;
pub use pinned::bucket_fingerprint;

/// Protection of the links to the other nodes. It is the same on all nodes.
#[derive(Clone, Debug)]
pub enum LinkSecurity {
    /// Plain TCP.
    Plain,
    /// TLS 1.3 in both directions. The certificates may change while the node runs.
    Tls(watch::Receiver<Arc<LinkTls>>),
}

/// The certificate that a node presents on its links, and those that it accepts.
pub struct LinkTls {
    own: CertificateDer<'static>,
    trust: LinkTrust,
    /// Configuration for the links that this node dials.
    pub(crate) client: Arc<ClientConfig>,
    /// Configuration for the links that this node accepts.
    pub(crate) server: Arc<ServerConfig>,
}

/// Rule by which the certificate of another node is accepted.
enum LinkTrust {
    /// It is one of these.
    Pinned(Vec<CertificateDer<'static>>),
    /// An authority of the operator signed it, and it names the host of the node.
    Authority,
}

/// The certificates of both ends of a link.
#[derive(Clone, Debug)]
pub(crate) struct LinkCertificates {
    /// The certificate that this node presented.
    pub(crate) own: CertificateDer<'static>,
    /// The certificate of the other node.
    pub(crate) peer: CertificateDer<'static>,
}

impl LinkTls {
    /// Presents `presented`, and accepts the certificates of `accepted` alone. `cluster` is the id
    /// of the bucket.
    ///
    /// # Errors
    /// [`LinkTlsError::KeyPair`] if `presented` is not a valid pair.
    pub fn pinned(
        cluster: Uuid,
        presented: &NodeKeyPair,
        accepted: impl IntoIterator<Item = NodeKeyPair>,
    ) -> Result<Self, LinkTlsError> {
        let accepted: Vec<_> = accepted.into_iter().map(|pair| pair.certificate()).collect();
        let provider = Arc::new(provider());
        let verifier =
            Arc::new(PinnedCertificates::new(cluster, accepted.clone(), provider.signature_verification_algorithms));
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(LinkTlsError::KeyPair)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(LinkTlsError::KeyPair)?
            .with_client_cert_verifier(verifier);
        let chain = vec![presented.certificate()];
        let client = client.with_client_auth_cert(chain.clone(), presented.private_key());
        let server = server.with_single_cert(chain, presented.private_key());
        Ok(Self::new(
            presented.certificate(),
            LinkTrust::Pinned(accepted),
            client.map_err(LinkTlsError::KeyPair)?,
            server.map_err(LinkTlsError::KeyPair)?,
        ))
    }

    /// Presents the certificate of the operator, and accepts those that `authority` signed. Each
    /// must name the host of its node.
    ///
    /// # Errors
    /// [`LinkTlsError`] if one of them cannot be used.
    pub fn with_authority(
        authority: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        private_key: &PrivateKeyDer<'static>,
    ) -> Result<Self, LinkTlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in authority {
            roots.add(certificate).map_err(|error| LinkTlsError::Authority(error.to_string()))?;
        }
        let (roots, provider) = (Arc::new(roots), Arc::new(provider()));
        let own = chain.first().cloned();
        let own = own.ok_or(LinkTlsError::KeyPair(rustls::Error::NoCertificatesPresented))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| LinkTlsError::Authority(error.to_string()))?;
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(LinkTlsError::KeyPair)?
            .with_webpki_verifier(verifier)
            .with_client_auth_cert(chain.clone(), private_key.clone_key())
            .map_err(LinkTlsError::KeyPair)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| LinkTlsError::Authority(error.to_string()))?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(LinkTlsError::KeyPair)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, private_key.clone_key())
            .map_err(LinkTlsError::KeyPair)?;
        Ok(Self::new(own, LinkTrust::Authority, client, server))
    }

    fn new(own: CertificateDer<'static>, trust: LinkTrust, mut client: ClientConfig, mut server: ServerConfig) -> Self {
        // The acceptor must write nothing after its greeting. A kernel resets a connection that is
        // closed with unread data, and a reset proves no death. Session tickets would be such data.
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Self { own, trust, client: Arc::new(client), server: Arc::new(server) }
    }

    /// The certificate that this node presents.
    pub(crate) fn own(&self) -> CertificateDer<'static> {
        self.own.clone()
    }

    /// Whether a link with these certificates may continue.
    pub(crate) fn accepts(&self, link: &LinkCertificates) -> bool {
        match &self.trust {
            LinkTrust::Pinned(accepted) => accepted.contains(&link.own) && accepted.contains(&link.peer),
            LinkTrust::Authority => true,
        }
    }

    /// Whether an authority of the operator signs the certificates.
    pub(crate) fn has_authority(&self) -> bool {
        matches!(self.trust, LinkTrust::Authority)
    }

    /// Checks that the certificate of a node names the host that the node claims.
    pub(crate) fn check_host(&self, link: &LinkCertificates, host: IpAddr) -> Result<(), String> {
        match self.trust {
            LinkTrust::Pinned(_) => Ok(()),
            LinkTrust::Authority => ParsedCertificate::try_from(&link.peer)
                .and_then(|certificate| verify_server_name(&certificate, &ServerName::IpAddress(host.into())))
                .map_err(|_| {
                    format!("its certificate does not name its host {host}; add the address to it (node_cert)")
                }),
        }
    }
}

impl fmt::Debug for LinkTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkTls(…)")
    }
}

/// Cryptography of the links. ChaCha20-Poly1305 is the only cipher: rustls renews the keys of
/// AES-GCM after a number of records, and such a renewal makes the acceptor write.
fn provider() -> CryptoProvider {
    CryptoProvider { cipher_suites: vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256], ..default_provider() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_have_one_cipher_and_no_session_tickets() {
        let pair = NodeKeyPair::generate(Uuid::from_u128(1)).unwrap();
        let tls = LinkTls::pinned(Uuid::from_u128(1), &pair, [pair.clone()]).unwrap();
        assert_eq!(tls.server.send_tls13_tickets, 0);
        let suites = &tls.server.crypto_provider().cipher_suites;
        assert_eq!(suites[..], [cipher_suite::TLS13_CHACHA20_POLY1305_SHA256]);
        assert_eq!(suites, &tls.client.crypto_provider().cipher_suites);
    }

    #[test]
    fn a_link_is_accepted_only_with_known_certificates_at_both_ends() {
        let cluster = Uuid::from_u128(1);
        let [first, second, stranger] = [(); 3].map(|()| NodeKeyPair::generate(cluster).unwrap());
        let tls = LinkTls::pinned(cluster, &first, [first.clone(), second.clone()]).unwrap();
        let link = |own: &NodeKeyPair, peer: &NodeKeyPair| LinkCertificates {
            own: own.certificate(),
            peer: peer.certificate(),
        };
        assert!(tls.accepts(&link(&first, &second)));
        assert!(!tls.accepts(&link(&first, &stranger)));
        assert!(!tls.accepts(&link(&stranger, &first)));
    }
}
