//! Interoperability tests with small Python peers (`tests/peers`). They were written from the
//! requirements, not from this code, so they check the wire formats independently.

mod lan;
mod mesh;
mod mixed_mesh;

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use super::json_process::JsonProcess;

/// Starts a script of `tests/peers` and waits until it is ready.
async fn start(script: &str, flags: &[&str]) -> JsonProcess {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
    let mut command = Command::new("python3");
    command.arg(path).args(flags).env("PYTHONDONTWRITEBYTECODE", "1");
    match JsonProcess::start(script, command).await {
        Ok(process) => process,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("python3 is missing; install the package python3 (these tests need nothing beyond it)")
        }
        Err(error) => panic!("python3 does not start: {error}"),
    }
}
