//! What a person types: a node that cannot start, the demo, the client's commands, and the scripts.

mod accounts;
mod demo;
mod demo_script;
mod download;
mod heartbeats;
mod help;
mod lists;
mod pictures;
mod start;
mod typed;
