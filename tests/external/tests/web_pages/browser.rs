//! Chromium without a window.

use std::process::Child;

use super::page_server::PAGE_HOST;
use crate::servers::{CHROMIUM, end, spawn};

/// A browser that shows one page. It ends when it is dropped.
pub(super) struct Browser {
    shell: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(super) fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let profile_folder = format!("--user-data-dir={}", profile.path().display());
        let host = format!("--host-resolver-rules=MAP {PAGE_HOST} 127.0.0.1");
        let mut shell = spawn(&CHROMIUM, &[&profile_folder, &host, url]);
        // The browser must be able to write its log.
        let mut log = shell.stdout.take().expect("it is piped");
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { shell, _profile: profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        end(&mut self.shell);
    }
}
