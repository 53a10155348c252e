//! What all packages of Rollcall share: values with a rule each, the bodies of the API ([`api`]), escaping of text that others
//! wrote ([`escape`]), the election's timings, a token bucket, and the one place that reads clocks ([`clock`]).
//!
//! A value that exists is valid: parsing happens once, at the border, and nobody checks again. But for [`clock`], nothing here
//! reads a clock, a file or a socket.

mod addr;
pub mod api;
pub mod clock;
mod cluster_key;
pub mod escape;
mod image_name;
mod load;
mod member_role;
mod metadata;
mod node_addr;
mod page;
mod password;
mod profile;
mod term;
mod time;
mod timings;
mod token_bucket;
mod username;

pub use addr::{Addr, AddrForm, InvalidAddr};
pub use cluster_key::{ClusterKey, InvalidClusterKey, MIN_KEY_CHARS};
pub use image_name::{ImageKind, ImageName, InvalidImageName};
pub use load::Load;
pub use member_role::MemberRole;
pub use metadata::{InvalidMetadata, Metadata, MetadataInput};
pub use node_addr::{InvalidNodeAddr, MAX_NODES, NodeAddr};
pub use page::Page;
pub use password::{InvalidPassword, MAX_PASSWORD_BYTES, Password, PasswordHash, Token};
pub use profile::{Profile, UserId};
pub use term::Term;
pub use time::{BootMs, WallMs};
pub use timings::Timings;
pub use token_bucket::{Rate, TokenBucket};
pub use username::{InvalidUsername, Username};
