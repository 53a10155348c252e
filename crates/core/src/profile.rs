//! Profile: the permanent record of one user in the bucket.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Addr, Metadata, PasswordHash, Username};

/// Unique id of a registration.
pub type UserId = Uuid;

/// A registration as the bucket stores it. After the registration, only `password_hash` and
/// `password_version` change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Id of this registration.
    pub user_id: UserId,
    /// Name of the user.
    pub username: Username,
    /// Address given at registration; `None` if none was given.
    #[serde(default)]
    pub addr: Option<Addr>,
    /// Time of the registration: RFC 3339, UTC.
    pub registered_at: String,
    /// Public metadata given at registration; empty if none was given.
    #[serde(default)]
    pub metadata: Metadata,
    /// Hash of the password; `None` for a user without a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<PasswordHash>,
    /// Number of password changes since the registration. A token names the version and is valid
    /// only for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub password_version: u32,
}

impl Profile {
    /// Format version of a profile in the bucket. The bytes of version 1 contain no version number.
    ///
    /// Readers ignore unknown fields, so a later version may add fields. A version that must not be
    /// read as version 1 needs another object name in the bucket.
    pub const VERSION: u32 = 1;
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(version: &u32) -> bool {
    *version == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden bytes of version 1: one profile with all fields, one with the required fields only.
    const FULL: &str = r#"{"user_id":"00112233-4455-6677-8899-aabbccddeeff","username":"alice","addr":"10.0.0.1:9000","registered_at":"2026-11-30T06:07:29Z","metadata":{"device":"laptop","tags":["a",1,2.5,true,null]},"password_hash":"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA","password_version":2}"#;
    const REQUIRED_ONLY: &str = r#"{"user_id":"00112233-4455-6677-8899-aabbccddeeff","username":"bob","addr":null,"registered_at":"2026-11-30T06:07:29Z","metadata":{}}"#;

    fn full() -> Profile {
        Profile {
            user_id: UserId::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            username: Username::parse("alice").unwrap(),
            addr: Addr::new("10.0.0.1:9000".parse().unwrap()),
            registered_at: "2026-11-30T06:07:29Z".to_owned(),
            metadata: serde_json::from_str(r#"{"device":"laptop","tags":["a",1,2.5,true,null]}"#).unwrap(),
            password_hash: Some(PasswordHash::new("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned())),
            password_version: 2,
        }
    }

    fn required_only() -> Profile {
        Profile {
            username: Username::parse("bob").unwrap(),
            addr: None,
            metadata: Metadata::default(),
            password_hash: None,
            password_version: 0,
            ..full()
        }
    }

    #[test]
    fn profiles_have_their_golden_bytes() {
        assert_eq!(Profile::VERSION, 1, "another version has other golden bytes");
        for (profile, golden) in [(full(), FULL), (required_only(), REQUIRED_ONLY)] {
            assert_eq!(serde_json::to_string(&profile).unwrap(), golden);
            assert_eq!(serde_json::from_str::<Profile>(golden).unwrap(), profile);
        }
    }
}
