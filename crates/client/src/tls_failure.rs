//! Reason why no TLS connection to a node could be established.

use std::error::Error;
use std::io;

use rustls::{CertificateError, InvalidMessage};
use thiserror::Error;

/// Reason why no TLS connection to a node could be established. The text is the rest of a line,
/// with the remedy.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum TlsFailure {
    /// No trusted authority has issued the certificate.
    #[error(
        "its certificate comes from an authority that this client does not know; give the file with the certificate \
         of that authority (--ca FILE or ROLLCALL_CA; for a chat peer --registry-ca)"
    )]
    UnknownAuthority,
    /// The certificate has expired.
    #[error(
        "its certificate has expired; the operator of the node must replace it, unless this machine's clock is wrong"
    )]
    Expired,
    /// The certificate is not valid yet.
    #[error("its certificate is not valid yet; check the clocks of this machine and of the node")]
    NotYetValid,
    /// The certificate is for other names.
    #[error("its certificate is not valid for this host, but for {names}; use such a URL, or get another certificate")]
    OtherName {
        /// The names in the certificate.
        names: String,
    },
    /// The node speaks plain HTTP.
    #[error("it does not speak https on this port; if it has no certificate, give its URL with http://")]
    PlainHttp,
    /// Any other failure.
    #[error("{0}")]
    Other(String),
}

impl TlsFailure {
    /// The TLS failure that caused an error. `None` if it has another cause.
    pub(super) fn find(error: &reqwest::Error) -> Option<Self> {
        let mut cause: &(dyn Error + 'static) = error;
        loop {
            if let Some(failure) = cause.downcast_ref::<rustls::Error>() {
                return Some(Self::of(failure));
            }
            // The source of an `io::Error` is the source of the error in it.
            cause = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inner) => inner,
                None => cause.source()?,
            };
        }
    }

    fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => match error {
                CertificateError::UnknownIssuer => Self::UnknownAuthority,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
                CertificateError::NotValidForName => Self::OtherName { names: "other names".to_owned() },
                CertificateError::NotValidForNameContext { presented, .. } => {
                    let names: Vec<&str> = presented.iter().map(|name| plain_name(name)).collect();
                    Self::OtherName { names: if names.is_empty() { "no name".to_owned() } else { names.join(", ") } }
                }
                other => Self::Other(format!("its certificate is not accepted: {other}")),
            },
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::PlainHttp,
            other => Self::Other(other.to_string()),
        }
    }
}

/// A name as users write it. rustls writes `DnsName("a.example")`.
fn plain_name(name: &str) -> &str {
    name.split_once('(').map_or(name, |(_, name)| name.trim_end_matches(')').trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_certificate_are_shown_without_their_kind() {
        let presented = ["DnsName(\"node-1.example\")", "IpAddress(10.0.0.1)"].map(str::to_owned).into();
        let expected = rustls::pki_types::ServerName::try_from("other.example").unwrap();
        let error = CertificateError::NotValidForNameContext { expected, presented };
        let failure = TlsFailure::of(&rustls::Error::InvalidCertificate(error));
        assert_eq!(failure, TlsFailure::OtherName { names: "node-1.example, 10.0.0.1".to_owned() });
    }
}
