//! Certificates of the demo with TLS: an authority of its own, and one certificate for all nodes.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use rollcall_core::{WallMs, private_files};

/// Names of the nodes in the certificate.
const NAMES: [&str; 3] = ["127.0.0.1", "::1", "localhost"];
/// Days for which the certificates are valid. A demo ends on the day on which it began.
const VALID_DAYS: u32 = 90;
const DAY: Duration = Duration::from_hours(24);

/// The files with the certificates.
#[derive(Clone, Debug)]
pub(super) struct DemoCertificates {
    /// The certificate of the authority, which clients must trust.
    pub(super) ca: PathBuf,
    /// The certificate of the nodes.
    pub(super) cert: PathBuf,
    /// The private key of that certificate.
    pub(super) key: PathBuf,
}

impl DemoCertificates {
    /// Makes new certificates in `dir`. The key of the authority is not kept, so nobody can issue
    /// another certificate that the same clients trust.
    pub(super) fn create(dir: &Path, now: WallMs) -> io::Result<Self> {
        let files = Self { ca: dir.join("ca.pem"), cert: dir.join("node.pem"), key: dir.join("node-key.pem") };
        let authority_key = KeyPair::generate().map_err(io::Error::other)?;
        let mut authority = params("rollcall demo authority", now);
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = authority.self_signed(&authority_key).map_err(io::Error::other)?;
        let issuer = Issuer::new(authority, authority_key);

        let node_key = KeyPair::generate().map_err(io::Error::other)?;
        let mut node = params("rollcall demo node", now);
        let names = CertificateParams::new(NAMES.map(str::to_owned)).map_err(io::Error::other)?;
        node.subject_alt_names = names.subject_alt_names;
        node.is_ca = IsCa::ExplicitNoCa;
        node.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        node.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        node.use_authority_key_identifier_extension = true;
        let cert = node.signed_by(&node_key, &issuer).map_err(io::Error::other)?;

        write(&files.ca, &ca.pem())?;
        write(&files.cert, &cert.pem())?;
        write(&files.key, &node_key.serialize_pem())?;
        Ok(files)
    }
}

/// Writes a file that only its owner can read. An earlier demo may have left one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    // It may have other permissions.
    if path.exists() {
        fs::remove_file(path)?;
    }
    let mut file = private_files::options().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Parameters of a certificate that is valid from the day before `now` on.
fn params(name: &str, now: WallMs) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    params.distinguished_name = names;
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.unix_seconds().unsigned_abs());
    params.not_before = now - DAY;
    params.not_after = now + DAY * VALID_DAYS;
    params
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use rollcall_client::TrustedAuthorities;
    use rollcall_core::clock::wall_now;

    #[test]
    fn the_certificates_are_new_each_time_and_the_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = DemoCertificates::create(dir.path(), wall_now()).unwrap();
        let before = fs::read(&first.cert).unwrap();
        let files = DemoCertificates::create(dir.path(), wall_now()).unwrap();
        assert_ne!(fs::read(&files.cert).unwrap(), before);
        assert_eq!(fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(TrustedAuthorities::from_pem_file(&files.ca).is_ok());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "the key of the authority is not kept");
    }
}
