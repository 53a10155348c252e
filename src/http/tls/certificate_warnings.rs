//! Warnings about a certificate that can be served, but that clients will refuse now or soon. Pure.

use std::fmt;
use std::time::Duration;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};

use rollcall_core::WallMs;

/// Time before the end of its validity from which a certificate is reported.
const EXPIRY_NOTICE: Duration = Duration::from_hours(14 * 24);

/// A reason for which clients refuse a certificate now or soon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum CertificateWarning {
    /// It is not valid for the host of `api_url`.
    WrongHost {
        /// The host.
        host: String,
    },
    /// Its validity has ended.
    Expired {
        /// End of its validity.
        at: WallMs,
    },
    /// Its validity ends within [`EXPIRY_NOTICE`].
    ExpiresSoon {
        /// End of its validity.
        at: WallMs,
    },
    /// Its validity has not begun.
    NotYetValid {
        /// Begin of its validity.
        from: WallMs,
    },
    /// It is the certificate of an authority. Many clients refuse it as that of a server.
    IsAuthority,
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongHost { host } => {
                write!(f, "it does not cover {host}, the host of api_url; get one for this name, or correct api_url")
            }
            Self::Expired { at } => write!(f, "it expired at {}; replace it", at.to_rfc3339()),
            Self::ExpiresSoon { at } => write!(f, "it expires at {}; replace it before", at.to_rfc3339()),
            Self::NotYetValid { from } => {
                write!(f, "it is valid from {} on; check the clock of this machine", from.to_rfc3339())
            }
            Self::IsAuthority => {
                f.write_str("it is that of an authority (CA:TRUE), which clients refuse; make one with CA:FALSE")
            }
        }
    }
}

/// The warnings about a certificate at `now`. `host`: the host of the API URL.
pub(super) fn certificate_warnings(
    certificate: &CertificateDer<'_>,
    host: &str,
    now: WallMs,
) -> Vec<CertificateWarning> {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return Vec::new() };
    let mut warnings = Vec::new();
    let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']'));
    if !name.is_ok_and(|name| verify_server_name(&parsed, &name).is_ok()) {
        warnings.push(CertificateWarning::WrongHost { host: host.to_owned() });
    }
    let now = Duration::from_millis(u64::try_from(now.unix_ms()).unwrap_or(0));
    match validity_error(&parsed, now) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => {
            warnings.push(CertificateWarning::Expired { at: wall_ms(not_after) });
        }
        Some(CertificateError::NotValidYetContext { not_before, .. }) => {
            warnings.push(CertificateWarning::NotYetValid { from: wall_ms(not_before) });
        }
        error => {
            if let Some(CertificateError::ExpiredContext { not_after, .. }) =
                validity_error(&parsed, now + EXPIRY_NOTICE)
            {
                warnings.push(CertificateWarning::ExpiresSoon { at: wall_ms(not_after) });
            }
            if error.is_some_and(|error| error.to_string().contains("CaUsedAsEndEntity")) {
                warnings.push(CertificateWarning::IsAuthority);
            }
        }
    }
    warnings
}

/// The first error of the certificate itself at a time since 1970. Without a trust anchor, every
/// certificate has an error at the end: its issuer is unknown.
fn validity_error(certificate: &ParsedCertificate<'_>, time: Duration) -> Option<CertificateError> {
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    let time = UnixTime::since_unix_epoch(time);
    match verify_server_cert_signed_by_trust_anchor(certificate, &RootCertStore::empty(), &[], time, algorithms) {
        Err(rustls::Error::InvalidCertificate(error)) => Some(error),
        Ok(()) | Err(_) => None,
    }
}

fn wall_ms(time: UnixTime) -> WallMs {
    WallMs::new(i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 1000).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, date_time_ymd};
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use rollcall_test_support::certificates::test_certificate;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    /// Warnings about a certificate for `127.0.0.1`, `::1` and `localhost` that is valid in June
    /// 2026, at a day of that year.
    fn at_day(day: i64, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Vec<CertificateWarning> {
        let made = test_certificate(|params| {
            params.not_before = date_time_ymd(2026, 6, 1);
            params.not_after = date_time_ymd(2026, 7, 1);
            change(params);
        });
        let certificate = CertificateDer::from_pem_slice(made.cert.as_bytes()).unwrap();
        // The first of January 2026.
        certificate_warnings(&certificate, host, WallMs::new(1_767_225_600_000 + day * DAY_MS))
    }

    #[test]
    fn a_certificate_is_reported_14_days_before_it_expires_and_afterwards() {
        // The first of July is day 181.
        assert_eq!(at_day(166, "localhost", |_| ()), []);
        let soon = at_day(168, "localhost", |_| ());
        assert_eq!(soon[0].to_string(), "it expires at 2026-07-01T00:00:00Z; replace it before");
        let expired = at_day(182, "localhost", |_| ());
        assert_eq!(expired[0].to_string(), "it expired at 2026-07-01T00:00:00Z; replace it");
        let early = at_day(150, "localhost", |_| ());
        assert!(early[0].to_string().contains("valid from 2026-06-01T00:00:00Z"), "{early:?}");
        assert_eq!([soon.len(), expired.len(), early.len()], [1; 3]);
    }

    #[test]
    fn a_certificate_for_another_host_than_that_of_the_api_url_is_reported() {
        for host in ["localhost", "127.0.0.1", "[::1]", "LocalHost"] {
            assert_eq!(at_day(160, host, |_| ()), [], "{host}");
        }
        for host in ["127.0.0.2", "[::2]", "api.example", "x.localhost", "not a name"] {
            assert_eq!(at_day(160, host, |_| ()), [CertificateWarning::WrongHost { host: host.to_owned() }]);
        }
    }

    #[test]
    fn a_certificate_of_an_authority_is_reported() {
        let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        assert_eq!(at_day(160, "localhost", authority), [CertificateWarning::IsAuthority]);
    }
}
