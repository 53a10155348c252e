//! The one place of the registry that draws randomness.

use crate::domain::UserId;

/// The id of a new registration.
#[expect(clippy::disallowed_methods, reason = "this is the place of the registry that draws")]
pub(super) fn user_id() -> UserId {
    uuid::Uuid::new_v4()
}
