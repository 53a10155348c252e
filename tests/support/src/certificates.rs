//! Certificates for tests of TLS, valid for `127.0.0.1`, `::1` and `localhost`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A certificate and its private key, in PEM format.
#[derive(Clone, Debug)]
pub struct TestCertificate {
    /// The certificate.
    pub cert: String,
    /// The private key.
    pub key: String,
}

/// A certificate authority.
#[derive(Debug)]
pub struct TestAuthority {
    /// Its certificate in PEM format.
    pub cert: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that signs itself, after `change` of its parameters.
pub fn test_certificate(change: impl FnOnce(&mut CertificateParams)) -> TestCertificate {
    let mut params = server_params();
    change(&mut params);
    let key = KeyPair::generate().expect("random numbers");
    let cert = params.self_signed(&key).expect("the parameters are valid").pem();
    TestCertificate { cert, key: key.serialize_pem() }
}

impl TestAuthority {
    /// An authority of this name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named(name);
        let key = KeyPair::generate().expect("random numbers");
        let cert = params.self_signed(&key).expect("the parameters are valid").pem();
        Self { cert, issuer: Issuer::new(params, key) }
    }

    /// Issues a certificate after `change` of its parameters.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> TestCertificate {
        let mut params = server_params();
        change(&mut params);
        let key = KeyPair::generate().expect("random numbers");
        let cert = params.signed_by(&key, &self.issuer).expect("the parameters are valid").pem();
        TestCertificate { cert, key: key.serialize_pem() }
    }
}

impl TestCertificate {
    /// Writes the two files `NAME.pem` and `NAME-key.pem` into `dir`, each in one step as tools
    /// that rotate certificates do. Returns their paths.
    pub fn write(&self, dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}-key.pem")));
        for (path, text) in [(&key, &self.key), (&cert, &self.cert)] {
            let new = path.with_extension("new");
            fs::write(&new, text).expect("the directory is ours");
            fs::rename(&new, path).expect("the directory is ours");
        }
        (cert, key)
    }
}

/// TLS of a server with this certificate.
pub fn server_config(made: &TestCertificate) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(made.cert.as_bytes()).collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has all versions").with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).expect("a pair");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// TLS of a client that trusts the certificates in this PEM text.
pub fn client_config(trusted: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("the provider has all versions").with_root_certificates(roots).with_no_client_auth()
}

fn server_params() -> CertificateParams {
    let names = ["127.0.0.1", "::1", "localhost"].map(str::to_owned);
    let mut params = CertificateParams::new(names).expect("the names are valid");
    params.distinguished_name = named("rollcall node");
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}
