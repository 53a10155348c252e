//! The part of a received profile that is kept: the display name, and a digest that recognises the
//! same profile again. An avatar of 20 KB for each sender would take most of the memory.

use super::chat_entry::digest;
use crate::profile::PeerProfile;

/// Profile that was received and shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct KnownProfile {
    pub(super) display_name: String,
    digest: u64,
}

impl KnownProfile {
    pub(super) fn of(profile: &PeerProfile) -> Self {
        let avatar = profile.avatar.as_ref().map_or("", |avatar| avatar.base64());
        // The lengths keep texts apart that would be equal one after the other.
        let lengths = [profile.display_name.len(), profile.status.len()].map(usize::to_be_bytes).concat();
        let texts = [profile.display_name.as_bytes(), profile.status.as_bytes(), avatar.as_bytes()];
        let digest = digest(&[&lengths, texts[0], texts[1], texts[2]], "");
        Self { display_name: profile.display_name.clone(), digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Avatar;

    #[test]
    fn profiles_that_differ_in_any_field_are_different() {
        let avatar = || Some(Avatar::new(b"\xff\xd8\xff\xe0").unwrap());
        let profiles = [
            PeerProfile::new("ab", "c", None),
            PeerProfile::new("a", "bc", None),
            PeerProfile::new("ab", "", None),
            PeerProfile::new("ab", "c", avatar()),
            PeerProfile::new("ab", "", avatar()),
            PeerProfile::new("ab", avatar().unwrap().base64(), None),
        ];
        for (index, one) in profiles.iter().enumerate() {
            for (other_index, other) in profiles.iter().enumerate() {
                assert_eq!(KnownProfile::of(one) == KnownProfile::of(other), index == other_index);
            }
        }
        assert_eq!(KnownProfile::of(&profiles[3]), KnownProfile::of(&PeerProfile::new("ab", "c", avatar())));
    }
}
