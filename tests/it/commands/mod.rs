//! What a person types: a node that cannot start, the demo, and the download script.

mod demo;
mod download;
mod start;
