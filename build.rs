//! Has the linker lay the functions that a peer runs next to each other (`layout.ld`), in a release build.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The smallest program.
const PROBE: &str = "fn main() {}";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=layout.ld");
    if variable("PROFILE") != "release" || variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    // Cargo tells by itself when the flags of the compiler are others.
    let target = variable("TARGET").to_uppercase().replace('-', "_");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_{target}_LINKER");
    let argument = format!("-T{}/layout.ld", variable("CARGO_MANIFEST_DIR"));
    if is_taken(&argument) {
        println!("cargo::rustc-link-arg-bin=rollcall={argument}");
    } else {
        println!(
            "cargo::warning=the linker takes no layout.ld, so a peer will occupy some megabytes more than it could"
        );
    }
}

/// Whether the linker that will be used takes the argument. Some know no `INSERT`, and then there would be no program at all.
fn is_taken(argument: &str) -> bool {
    let folder = PathBuf::from(variable("OUT_DIR"));
    let source = folder.join("probe.rs");
    if fs::write(&source, PROBE).is_err() {
        return false;
    }
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.arg(source).arg("-o").arg(folder.join("probe")).args(["--target", &variable("TARGET")]);
    rustc.args(variable("CARGO_ENCODED_RUSTFLAGS").split('\u{1f}').filter(|flag| !flag.is_empty()));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut flag = std::ffi::OsString::from("linker=");
        flag.push(linker);
        rustc.arg("-C").arg(flag);
    }
    rustc.arg("-C").arg(format!("link-arg={argument}"));
    rustc.output().is_ok_and(|made| made.status.success())
}

/// What cargo tells a build script; nothing if it does not.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
