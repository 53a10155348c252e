//! TLS of the API: the certificate of this node with its key, and their reload from the files.

mod api_certificate;
mod api_tls;
mod certificate_reload;
mod certificate_warnings;

pub use api_certificate::{ApiCertificateError, ApiCertificateFiles};
pub use api_tls::ApiTls;
pub use certificate_reload::CertificateReload;
