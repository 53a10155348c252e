//! Tests of the command line: nodes that cannot start, the demo, the client commands, and the
//! scripts.

mod accounts;
mod admin;
mod demo;
mod demo_script;
mod download;
mod heartbeats;
mod help;
mod images;
mod lists;
mod private_files;
mod shell;
mod start;
mod tls;
