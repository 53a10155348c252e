//! Profile: the permanent record of one user in the bucket.
//!
//! Three forms are read: that of programs of requirement 004, the same with more fields (written
//! today), and an older form of ours, with `user_id` instead of `id`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

use super::{Addr, Metadata, PasswordHash, Username, without_byte_order_mark};

/// Unique id of a registration.
pub type UserId = Uuid;

/// A registration as the bucket stores it. After the registration, only `password_hash` and
/// `password_version` change.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Id of this registration.
    pub id: UserId,
    /// Name of the user.
    pub username: Username,
    /// Address given at registration; `None` if none was given.
    pub addr: Option<Addr>,
    /// Time of the registration: RFC 3339, UTC.
    pub registered_at: String,
    /// Time of the last heartbeat that another program has stored: RFC 3339, UTC. Rollcall stores
    /// none.
    pub last_seen: Option<String>,
    /// Public metadata given at registration; empty if none was given.
    pub metadata: Metadata,
    /// Hash of the password; `None` for a user without a password.
    pub password_hash: Option<PasswordHash>,
    /// Number of password changes since the registration. A token names the version and is valid
    /// only for it.
    pub password_version: u32,
    /// The fields of the object from which this profile was read. They are written again.
    pub stored_fields: StoredFields,
}

/// Fields of a stored profile as JSON texts, by name, without the id and the password. Empty for a
/// new profile.
///
/// A profile that is replaced keeps them: other programs may use fields or values that Rollcall
/// does not know.
#[derive(Clone, Default)]
pub struct StoredFields(BTreeMap<String, Box<RawValue>>);

/// Largest profile that is read, in bytes. Many times the largest that Rollcall writes. A profile
/// is parsed between heartbeats, so this must not take long.
const MAX_PROFILE_BYTES: usize = 1024 * 1024;

/// Fields that [`StoredFields`] never contains. Their values are always those of [`Profile`].
const OWN_FIELDS: [&str; 4] = ["id", "user_id", "password_hash", "password_version"];

/// The other fields that a new profile has.
const DEFAULT_FIELDS: [&str; 6] = ["username", "addr", "status", "registered_at", "last_seen", "metadata"];

/// The bytes are not a profile. The text is the reason, for the operator.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0}")]
pub struct InvalidProfile(String);

/// Shows the names only, because the values may contain secrets of other programs.
impl fmt::Debug for StoredFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl PartialEq for StoredFields {
    fn eq(&self, other: &Self) -> bool {
        fn texts(fields: &StoredFields) -> impl Iterator<Item = (&String, &str)> {
            fields.0.iter().map(|(name, json)| (name, json.get()))
        }
        texts(self).eq(texts(other))
    }
}

impl StoredFields {
    /// The value of a field; `None` if it is absent or null.
    fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, InvalidProfile> {
        let Some(json) = self.0.get(name) else { return Ok(None) };
        serde_json::from_str(json.get()).map_err(|error| InvalidProfile(format!("field {name:?}: {error}")))
    }

    /// Like [`Self::get`], for a field that must have a value.
    fn require<T: DeserializeOwned>(&self, name: &str) -> Result<T, InvalidProfile> {
        self.get(name)?.ok_or_else(|| InvalidProfile(format!("field {name:?} is missing")))
    }

    /// Like [`Self::get`], but a value of another type counts as absent.
    fn get_if_valid<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.get(name).ok().flatten()
    }
}

impl Profile {
    /// Format version of a profile in the bucket. The bytes contain no version number. Version 1
    /// had `user_id` instead of `id`, and neither `status` nor `last_seen`.
    ///
    /// Readers keep unknown fields, so a later version may add fields. A version that must not be
    /// read as version 2 needs another object name in the bucket.
    pub const VERSION: u32 = 2;

    /// Longest text of a time in UTC with nanoseconds, in bytes.
    pub const MAX_TIME_BYTES: usize = "2025-12-06T18:19:25.123456789Z".len();

    /// The profile of a new user without an address, metadata and a password.
    #[must_use]
    pub fn new(id: UserId, username: Username, registered_at: String) -> Self {
        Self {
            id,
            username,
            addr: None,
            registered_at,
            last_seen: None,
            metadata: Metadata::default(),
            password_hash: None,
            password_version: 0,
            stored_fields: StoredFields::default(),
        }
    }

    /// Reads a stored profile.
    ///
    /// `id` (or `user_id`), `username` and `registered_at` are required. Any `status` is accepted
    /// and has no effect. An `addr` or `last_seen` of another form counts as absent, and so does
    /// `metadata` that breaks a rule of [`Metadata`]: programs of requirement 004 do not check
    /// them.
    ///
    /// # Errors
    /// [`InvalidProfile`] if the bytes are too many or not JSON, or if a required field is missing
    /// or invalid.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidProfile> {
        if bytes.len() > MAX_PROFILE_BYTES {
            let reason = format!("it has {} bytes; at most {MAX_PROFILE_BYTES} are read", bytes.len());
            return Err(InvalidProfile(reason));
        }
        let fields = serde_json::from_slice(without_byte_order_mark(bytes))
            .map_err(|error| InvalidProfile(error.to_string()))?;
        let mut fields = StoredFields(fields);
        let id = match fields.get("id")? {
            Some(id) => id,
            None => fields.get("user_id")?.ok_or_else(|| InvalidProfile("field \"id\" is missing".to_owned()))?,
        };
        let stored_time: String = fields.require("registered_at")?;
        let registered_at = to_utc(&stored_time).ok_or_else(|| {
            InvalidProfile(format!("field \"registered_at\": {stored_time:?} is no time of RFC 3339"))
        })?;
        let metadata = fields.0.get("metadata").and_then(|json| Metadata::from_stored(json.get()).ok());
        let (password_hash, password_version) = (fields.get("password_hash")?, fields.get("password_version")?);
        fields.0.retain(|name, _| !OWN_FIELDS.contains(&name.as_str()));
        Ok(Self {
            id,
            username: fields.require("username")?,
            addr: fields.get_if_valid("addr").and_then(|text: String| Addr::parse(&text).ok()),
            registered_at,
            last_seen: fields.get_if_valid("last_seen").and_then(|time: String| to_utc(&time)),
            metadata: metadata.unwrap_or_default(),
            password_hash,
            password_version: password_version.unwrap_or_default(),
            stored_fields: fields,
        })
    }

    /// Like [`Self::decode`], for the profile stored under `username`.
    ///
    /// # Errors
    /// [`InvalidProfile`] also if it is the profile of another user.
    pub fn decode_of(username: &Username, bytes: &[u8]) -> Result<Self, InvalidProfile> {
        match Self::decode(bytes)? {
            profile if profile.username == *username => Ok(profile),
            other => Err(InvalidProfile(format!("it is the profile of {:?}", other.username.as_str()))),
        }
    }

    /// Stored fields whose values break a rule and count as absent, each with the reason.
    #[must_use]
    pub fn ignored_fields(&self) -> Vec<String> {
        let mut ignored = Vec::new();
        let stored = |name: &str| self.stored_fields.0.get(name).map(|json| json.get()).filter(|json| *json != "null");
        if let Some(addr) = stored("addr").filter(|addr| self.addr.is_none() && *addr != "\"\"") {
            ignored.push(format!("\"addr\" is not shown: {addr} is not IP:PORT"));
        }
        if let Some(last_seen) = stored("last_seen").filter(|_| self.last_seen.is_none()) {
            ignored.push(format!("\"last_seen\" is not shown: {last_seen} is no time of RFC 3339"));
        }
        if let Some(Err(reason)) = stored("metadata").map(Metadata::from_stored) {
            ignored.push(format!("\"metadata\" is not shown: {reason}"));
        }
        ignored
    }

    /// The JSON to store. Fields of [`Self::stored_fields`] are written unchanged, except the id,
    /// the password and fields that are null.
    ///
    /// # Panics
    /// Never: the values have JSON forms.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a profile has only text keys")
    }
}

impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        for name in DEFAULT_FIELDS {
            // A typed program of requirement 004 cannot read null in most of these fields.
            match (self.stored_fields.0.get(name).filter(|json| json.get() != "null"), name) {
                (Some(stored), _) => map.serialize_entry(name, stored)?,
                (None, "username") => map.serialize_entry(name, &self.username)?,
                (None, "addr") => map.serialize_entry(name, &self.addr.map_or_else(String::new, |a| a.to_string()))?,
                (None, "status") => map.serialize_entry(name, "active")?,
                (None, "registered_at") => map.serialize_entry(name, &self.registered_at)?,
                (None, "last_seen") => map.serialize_entry(name, &self.last_seen)?,
                (None, _) => map.serialize_entry(name, &self.metadata)?,
            }
        }
        if let Some(hash) = &self.password_hash {
            map.serialize_entry("password_hash", hash)?;
        }
        if self.password_version != 0 {
            map.serialize_entry("password_version", &self.password_version)?;
        }
        for (name, json) in &self.stored_fields.0 {
            if !DEFAULT_FIELDS.contains(&name.as_str()) {
                map.serialize_entry(name, json)?;
            }
        }
        map.end()
    }
}

/// The time as RFC 3339 in UTC, up to nanoseconds. `None` if the text is not RFC 3339.
fn to_utc(text: &str) -> Option<String> {
    // The parser accepts every separator between date and time. RFC 3339 allows these.
    let separator = *text.as_bytes().get(10).filter(|byte| matches!(byte, b'T' | b't' | b' '))?;
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let is_canonical = separator == b'T' && text.ends_with('Z') && text.len() <= Profile::MAX_TIME_BYTES;
    // Not every parser knows leap seconds.
    if is_canonical && !text.contains(":60") {
        return Some(text.to_owned());
    }
    time.to_offset(UtcOffset::UTC).format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests;
