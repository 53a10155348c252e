//! Paths of objects and folders in the bucket. No other file builds such a path.

use rollcall_core::{ImageName, NodeAddr, Username};

/// Name of an object in the bucket. Each key has its own path.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Key {
    /// The id of the cluster that uses this bucket.
    Cluster,
    /// The record of a node's first start. A node that has this record and no ballot has lost its
    /// ballot.
    Node(NodeAddr),
    /// The key that signs the tokens of users.
    TokenKey,
    /// A key pair with which nodes prove to each other that they belong to the cluster. The number
    /// grows with each new pair.
    NodeKey(u32),
    /// A user's registration.
    Profile(Username),
    /// One of a user's images.
    Image(Username, ImageName),
    /// The object that a node writes to find out whether writes work.
    WriteProbe(NodeAddr),
    /// The object that a check of the bucket writes and deletes. Concurrent checks have different
    /// numbers.
    Check(u32),
}

/// A folder of the bucket. A listing of it returns the names of its direct children.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Folder {
    /// The users. Each child is a username.
    Users,
    /// The images of one user. Each child is an image name.
    Images(Username),
    /// The objects of checks of the bucket. Each child is a file name.
    Checks,
    /// The key pairs of nodes. Each child is a file name. A listing may also have names of other
    /// secrets.
    NodeKeys,
}

/// Media type of [`Key::NodeKey`].
pub(super) const NODE_KEY_MEDIA_TYPE: &str = "application/vnd.rollcall.node-key+json";

impl Key {
    /// The key of a name in [`Folder::NodeKeys`]. `None` if it is the name of another secret.
    #[must_use]
    pub fn node_key_of_name(name: &str) -> Option<Self> {
        let number = name.strip_prefix("node-key-")?.strip_suffix(".json")?.parse().ok()?;
        let key = Self::NodeKey(number);
        (Folder::NodeKeys.path() + name == key.path()).then_some(key)
    }

    /// The path in the bucket, without a leading slash.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Cluster => "cluster.json".to_owned(),
            Self::Node(node) => format!("nodes/{node}.json"),
            Self::TokenKey => "secrets/tokens.json".to_owned(),
            Self::NodeKey(number) => format!("secrets/node-key-{number}.json"),
            Self::Profile(user) => format!("users/{user}/profile.json"),
            Self::Image(user, image) => format!("users/{user}/images/{image}"),
            Self::WriteProbe(node) => format!("probes/{node}.txt"),
            Self::Check(number) => format!("checks/{number:08x}.txt"),
        }
    }

    /// Whether a user's request writes the object.
    #[must_use]
    pub fn belongs_to_user(&self) -> bool {
        match self {
            Self::Profile(_) | Self::Image(..) => true,
            Self::Cluster
            | Self::Node(_)
            | Self::TokenKey
            | Self::NodeKey(_)
            | Self::WriteProbe(_)
            | Self::Check(_) => false,
        }
    }

    /// The media type that a store keeps with the object.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        match self {
            Self::Cluster | Self::Node(_) | Self::TokenKey | Self::Profile(_) => "application/json",
            // Its own type, so that a store without folders can list these objects alone.
            Self::NodeKey(_) => NODE_KEY_MEDIA_TYPE,
            Self::Image(_, image) => image.kind().media_type(),
            Self::WriteProbe(_) | Self::Check(_) => "text/plain",
        }
    }
}

impl Folder {
    /// The path in the bucket, with a trailing slash.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Users => "users/".to_owned(),
            Self::Images(user) => format!("users/{user}/images/"),
            Self::Checks => "checks/".to_owned(),
            Self::NodeKeys => "secrets/".to_owned(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path())
    }
}

impl std::fmt::Display for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollcall_core::ImageKind;

    #[test]
    fn the_paths_in_the_bucket_are_those_of_the_documentation() {
        let alice = Username::parse("alice").unwrap();
        let image = ImageName::new(1_733_511_234, 0xa1b2_c3d4, ImageKind::Png);
        assert_eq!(Key::Profile(alice.clone()).path(), "users/alice/profile.json");
        assert_eq!(Key::Image(alice.clone(), image.clone()).path(), "users/alice/images/1733511234-a1b2c3d4.png");
        assert_eq!(Folder::Images(alice).path() + image.as_str(), "users/alice/images/1733511234-a1b2c3d4.png");
        assert_eq!(Folder::NodeKeys.path() + "node-key-12.json", Key::NodeKey(12).path());
        assert_eq!(Key::node_key_of_name("node-key-12.json"), Some(Key::NodeKey(12)));
        for other in
            ["tokens.json", "node-key-012.json", "node-key-+1.json", "node-key-.json", "node-key-4294967296.json"]
        {
            assert_eq!(Key::node_key_of_name(other), None, "{other}");
        }
        assert_eq!(Key::Profile(Username::parse("mona Zoë").unwrap()).path(), "users/mona Zoë/profile.json");
    }
}
