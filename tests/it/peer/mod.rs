//! Tests of the chat peer: its engine in simulated networks, its codecs under fuzzing, and real
//! processes.

mod demo;
mod deployment_files;
mod foreign_peers;
mod forged_senders;
mod fuzz;
mod json_process;
mod lan_processes;
mod lan_simulation;
mod logs;
mod mesh_processes;
mod metrics;
mod peer_process;
mod python;
mod scan;
mod storms;
mod terminal;
mod world;
