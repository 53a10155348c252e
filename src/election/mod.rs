//! Who leads.
//!
//! [`Role`] is what the rest of the program sees of it, on a watch channel. Nothing here knows users, HTTP or storage.

mod role;

pub use role::{Leader, Member, MemberRole, Role, Standing};
