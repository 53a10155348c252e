//! The order of functions that the linker is given in a release build. No test makes one of the whole program, so that the
//! linker takes the file is seen with the smallest.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = r#"
    fn main() {
        // Something that is in the list: strings and standard output.
        println!("laid out {}", String::from("well"));
    }
"#;

fn script() -> String {
    format!("{}/layout.ld", env!("CARGO_MANIFEST_DIR"))
}

/// The sections of an object file or a program, as their names.
fn is_in(program: &Path, section: &str) -> bool {
    let bytes = fs::read(program).expect("it was just made");
    let name = [section.as_bytes(), b"\0"].concat();
    bytes.windows(name.len()).any(|window| window == name)
}

#[test]
fn the_linker_takes_the_order_of_functions_and_the_program_runs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("small.rs"), PROGRAM).expect("the directory is ours");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.current_dir(dir.path()).args(["--edition", "2024", "-O", "small.rs"]);
    let made = rustc.arg("-C").arg(format!("link-arg=-T{}", script())).output().expect("rustc is in the path");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let program = dir.path().join("small");
    assert!(is_in(&program, ".text.peer"), "some functions are where they should be");
    let said = Command::new(program).output().expect("it was just made");
    assert_eq!((said.status.success(), said.stdout), (true, b"laid out well\n".to_vec()));
}

#[test]
fn the_order_names_functions_and_no_hash_of_one_compiler() {
    let text = fs::read_to_string(script()).expect("it is part of the project");
    let names: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("*(.text.")).collect();
    assert!(names.len() > 500, "{}", names.len());
    for name in &names {
        assert!(name.starts_with('_') || name.starts_with("main"), "{name}");
        // Rust's older mangling ends with `17h` and a hash of 16 digits.
        let hash = name.split_once("17h").and_then(|(_, rest)| rest.chars().next());
        assert!(hash.is_none_or(|first| first == '*'), "{name}");
    }
}
