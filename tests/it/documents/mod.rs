//! Compares the pages for readers with the code: their length, their links, the files and tests
//! that they name, their tables, and the bounds in them.

mod bounds;
mod links;
mod mentions;
mod pages;
mod tables;
