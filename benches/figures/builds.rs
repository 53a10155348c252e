//! The builds under measurement: this one and, with `--against`, another build of this benchmark.

use std::path::PathBuf;

use crate::Args;

/// A build of this benchmark. Its hidden commands are the servers and peers.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    /// Name in the output.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
}

/// This build, then the build of `--against` if it is given.
pub(crate) fn all(arguments: &Args) -> anyhow::Result<Vec<Build>> {
    let this = Build { name: "this build", program: std::env::current_exe()? };
    let other = arguments.against.clone().map(|program| Build { name: "the other build", program });
    Ok([this].into_iter().chain(other).collect())
}
