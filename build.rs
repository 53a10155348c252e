//! Has the linker lay the functions that a peer runs next to each other (`layout.ld`), in a release build.

use std::env;

/// Where this was tried, and where Rust brings the linker with it.
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=layout.ld");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    // A linker that somebody chose may not know what INSERT means, and then there would be no program at all.
    let is_chosen = env::var_os("RUSTC_LINKER").is_some()
        || env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    if is("PROFILE", "release") && is("TARGET", TARGET) && !is_chosen {
        let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo names it to each build script");
        println!("cargo::rustc-link-arg-bin=rollcall=-T{folder}/layout.ld");
    }
}
