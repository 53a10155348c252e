//! Wire format between nodes: frames, Hello, messages, refusals, and the proof of the cluster key.
//! Pure.

pub(crate) mod frame;
pub(crate) mod hello;
pub(crate) mod key_proof;
pub(crate) mod message;
pub(crate) mod refusal;
