//! The mesh: TCP connections that carry JSON messages. The codec is pure; `network` and its links know the sockets.

mod greeting;
mod link;
mod message;
pub(super) mod network;
pub(super) mod news;
pub(super) mod outbox;
mod simple_chat;
mod splitter;
mod timestamp;

pub use greeting::{InvalidGreeting, MAX_GREETING_BYTES, greeting, read_greeting};
pub use message::{LAZY_PUSH, MAX_ASKED, MAX_PLAIN_BYTES, MeshMessage, MessageBody, MessageFormat, SeqRanges};
pub use simple_chat::Head;
pub use splitter::{Broken, MAX_MESSAGE_BYTES, Splitter};
