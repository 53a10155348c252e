//! Profiles in files `user-{uuid}.json`, which programs of requirement 001 write. Their names are
//! in their contents. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use rollcall_core::{Profile, Username};
use uuid::Uuid;

use super::drive_file::DriveFile;

/// A file with a profile.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct LegacyFile {
    created_time: String,
    id: Arc<str>,
}

/// The files that were read so far.
#[derive(Debug, Default)]
pub(super) struct LegacyProfiles {
    /// The name in each file, by the id of the file. `None` for a file without a valid profile.
    names: HashMap<Arc<str>, Option<Username>>,
    /// Of several files with one name, the oldest counts.
    files: HashMap<Username, LegacyFile>,
}

impl LegacyProfiles {
    /// Whether the file may have a profile.
    pub(super) fn is_legacy(file: &DriveFile) -> bool {
        let id = file.name.strip_prefix("user-").and_then(|rest| rest.strip_suffix(".json"));
        let is_uuid = id.is_some_and(|id| id.parse::<Uuid>().is_ok());
        is_uuid && !file.trashed && !file.is_deleted() && !file.is_ours()
    }

    /// Whether the file was read before.
    pub(super) fn has_read(&self, file: &DriveFile) -> bool {
        self.names.contains_key(&*file.id)
    }

    /// The name in a file that was read.
    pub(super) fn name(&self, file: &DriveFile) -> Option<&Username> {
        self.names.get(&*file.id)?.as_ref()
    }

    /// Adds a file that was read. Returns false if it has no valid profile.
    pub(super) fn add(&mut self, file: &DriveFile, bytes: &[u8]) -> bool {
        let id: Arc<str> = Arc::from(&*file.id);
        let name = Profile::decode(bytes).ok().map(|profile| profile.username);
        if let Some(name) = &name {
            let added = LegacyFile { created_time: file.created_time.clone(), id: id.clone() };
            self.files
                .entry(name.clone())
                .and_modify(|file| *file = added.clone().min(file.clone()))
                .or_insert(added.clone());
        }
        let has_profile = name.is_some();
        self.names.insert(id, name);
        has_profile
    }

    /// Forgets the file with a name, because it was deleted.
    pub(super) fn remove(&mut self, name: &Username) {
        self.files.remove(name);
    }

    /// The id of the file with the profile of a name.
    pub(super) fn id(&self, name: &Username) -> Option<Arc<str>> {
        self.files.get(name).map(|file| file.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(id: &str, name: &str, created: &str) -> DriveFile {
        serde_json::from_value(serde_json::json!({ "id": id, "name": name, "createdTime": created })).unwrap()
    }

    fn profile(username: &str) -> String {
        let id = Uuid::from_u128(7);
        format!(
            r#"{{"id":"{id}","username":"{username}","addr":"10.0.0.1:9000","registered_at":"2025-12-06T18:19:25Z"}}"#
        )
    }

    #[test]
    fn only_live_files_with_a_uuid_are_legacy_files() {
        let id = Uuid::from_u128(7);
        assert!(LegacyProfiles::is_legacy(&file("1", &format!("user-{id}.json"), "")));
        for name in ["user-alice.json", "users/alice/profile.json", "user-.json", &format!("user-{id}.json.bak")] {
            assert!(!LegacyProfiles::is_legacy(&file("1", name, "")), "{name}");
        }
        let mut trashed = file("1", &format!("user-{id}.json"), "");
        trashed.trashed = true;
        assert!(!LegacyProfiles::is_legacy(&trashed));
    }

    #[test]
    fn of_several_files_with_one_name_the_oldest_counts_in_any_order() {
        let name = Username::parse("alice").unwrap();
        let files = [
            file("b", "x", "2026-01-01T00:00:00.001Z"),
            file("a", "x", "2026-01-01T00:00:00.002Z"),
            file("c", "x", "2026-01-01T00:00:00.001Z"),
        ];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut profiles = LegacyProfiles::default();
            for place in order {
                assert!(profiles.add(&files[place], profile("alice").as_bytes()));
            }
            assert_eq!(profiles.id(&name).as_deref(), Some("b"));
        }
    }

    #[test]
    fn a_file_without_a_profile_takes_no_name_and_is_read_once() {
        let mut profiles = LegacyProfiles::default();
        let broken = file("1", "x", "");
        assert!(!profiles.has_read(&broken));
        assert!(!profiles.add(&broken, b"{}"));
        assert!(profiles.has_read(&broken) && profiles.name(&broken).is_none());
    }
}
