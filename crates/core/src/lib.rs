//! Types that all Rollcall crates share: validated values, API bodies ([`api`]), escaping of
//! untrusted text ([`escape`]), the election timings, a token bucket, trusted proxies, the clocks
//! ([`clock`]), and the permissions of private files ([`private_files`]).
//!
//! A value of a checked type is always valid: input is parsed once, where it enters the program,
//! and never checked again. Only a [`Password`] has a separate check. Only [`clock`] reads a clock,
//! and only [`private_files`] touches files. Nothing in this crate opens a socket.

mod addr;
mod address_block;
pub mod api;
mod bucket_name;
mod byte_order_mark;
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
pub mod private_files;
mod profile;
mod term;
mod time;
mod timings;
mod token_bucket;
mod trusted_proxies;
mod username;

pub use addr::{Addr, AddrForm, InvalidAddr, canonical_socket_addr};
pub use address_block::AddressBlock;
pub use bucket_name::BucketName;
pub use byte_order_mark::without_byte_order_mark;
pub use cluster_key::{ClusterKey, InvalidClusterKey, MIN_KEY_CHARS};
pub use image_name::{ImageKind, ImageName, InvalidImageName};
pub use load::Load;
pub use member_role::MemberRole;
pub use metadata::{InvalidMetadata, Metadata, MetadataInput};
pub use node_addr::{InvalidNodeAddr, MAX_NODES, NodeAddr};
pub use page::Page;
pub use password::{InvalidPassword, MAX_PASSWORD_BYTES, Password, PasswordHash, Token};
pub use profile::{InvalidProfile, Profile, StoredFields, UserId};
pub use term::Term;
pub use time::{BootMs, WallMs};
pub use timings::Timings;
pub use token_bucket::{Rate, TokenBucket};
pub use trusted_proxies::{ForwardedHeader, MAX_PROXY_HOPS, ProxyNetwork, TrustedProxies};
pub use username::{InvalidUsername, Username};
