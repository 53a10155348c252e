//! Quotas of clients and users in a node's configuration.

use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::{Layers, with_default};
use crate::config::setting::Setting;

/// Largest size of a setting, in bytes. A file of TOML has no larger numbers.
pub(super) const MAX_BYTES: u64 = i64::MAX.unsigned_abs();
/// Largest number of users, images and registrations in a burst.
const MAX_COUNT: u64 = 1_000_000_000;
/// Largest number of registrations a second. The time between two of them is a whole number of
/// milliseconds, and a higher rate would differ from it by more than 1%.
const MAX_RATE: u64 = 100;

/// Quotas. `None` is no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QuotaConfig {
    /// New registrations of one client address without a wait. At least 1.
    pub registration_burst: u64,
    /// Further new registrations of one client address a second. `None` removes the burst too.
    pub registration_rate: Option<u64>,
    /// Bytes of images that one client address may store without a wait. At least 1.
    pub upload_burst_bytes: u64,
    /// Further bytes of images of one client address a second. `None` removes the burst too.
    pub upload_rate_bytes: Option<u64>,
    /// Users in all.
    pub max_users: Option<u64>,
    /// Images of one user.
    pub max_images_per_user: Option<u64>,
    /// Bytes of all images of one user.
    pub max_image_bytes_per_user: Option<u64>,
}

/// Reads the quotas.
pub(super) fn read_quotas(layers: &Layers) -> Result<QuotaConfig, ConfigError> {
    let limit = |setting: &Setting, max: u64| -> Result<Option<u64>, ConfigError> {
        let given = with_default(layers.number_in(setting, 0..=max)?);
        Ok(Some(given.value).filter(|limit| *limit > 0))
    };
    Ok(QuotaConfig {
        registration_burst: layers.number(&settings::REGISTRATION_BURST, MAX_COUNT)?.value,
        registration_rate: limit(&settings::REGISTRATION_RATE, MAX_RATE)?,
        upload_burst_bytes: layers.number(&settings::UPLOAD_BURST_BYTES, MAX_BYTES)?.value,
        upload_rate_bytes: limit(&settings::UPLOAD_RATE_BYTES, MAX_BYTES)?,
        max_users: limit(&settings::MAX_USERS, MAX_COUNT)?,
        max_images_per_user: limit(&settings::MAX_IMAGES_PER_USER, MAX_COUNT)?,
        max_image_bytes_per_user: limit(&settings::MAX_IMAGE_BYTES_PER_USER, MAX_BYTES)?,
    })
}
