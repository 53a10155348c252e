//! Mesh transport: TCP connections that carry JSON messages.
//!
//! The codec (`greeting`, `message`, `timestamp`, `chat_fast_path`, `framer`) is pure. `network`,
//! `connection` and `send_queue` do the I/O. They report to the driver with the events of
//! `connection_event`.

mod chat_fast_path;
mod connection;
pub(super) mod connection_event;
mod framer;
mod greeting;
mod message;
pub(super) mod network;
pub(super) mod send_queue;
mod timestamp;

pub use chat_fast_path::ChatHeader;
pub use framer::{FramingError, JsonFramer, MAX_MESSAGE_BYTES};
pub use greeting::{InvalidGreeting, MAX_GREETING_BYTES, greeting, read_greeting};
pub use message::{LAZY_PUSH, MAX_ASKED, MAX_PLAIN_BYTES, MeshMessage, MessageBody, MessageFormat, SeqRanges};
