//! Holds the pages for readers against the code: their length, their links, the files and tests
//! that they name, their tables.

mod links;
mod mentions;
mod pages;
mod tables;
