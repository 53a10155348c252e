//! The examples of the requirement documents, step by step, against real clusters.

mod discovery_server;
mod registry_on_drive;
mod registry_with_images;
