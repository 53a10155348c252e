//! Code that the packages of tests share.
//!
//! It knows the program only from outside: its command line, its HTTP API and its store. So it
//! depends on none of its packages, and a change of the program does not rebuild it.

pub mod attack;
pub mod certificates;
pub mod cluster;
pub mod drive_server;
pub mod fault_proxy;
pub mod s3_server;
pub mod sample_images;
