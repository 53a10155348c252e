//! Compares the pages for readers with the code: their length, their links, the files and tests
//! that they name, and their tables.

mod links;
mod mentions;
mod pages;
mod tables;
