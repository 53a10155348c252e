//! Output of a command: results go to standard output, notes go to standard error.

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};

use clap::Args;
use serde::Serialize;

use super::exit::{CommandError, SYSTEM};
use super::text_table::Colour;
use rollcall_core::escape::{escape_controls, escape_json};

/// Flags for the output format.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct OutputArgs {
    /// Print JSON for programs to standard output
    #[arg(long)]
    pub(super) json: bool,
}

/// Standard output with the chosen format.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommandOutput {
    pub(super) is_json: bool,
    pub(super) is_coloured: bool,
}

impl CommandOutput {
    pub(super) fn new(args: OutputArgs) -> Self {
        let has_no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_json: args.json, is_coloured: stdout().is_terminal() && !has_no_color }
    }

    /// Writes text unchanged. The caller must have escaped untrusted parts.
    #[expect(clippy::unused_self, reason = "all writing functions are methods of the output")]
    pub(super) fn text(self, text: &str) -> Result<(), CommandError> {
        let mut out = stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => CommandError::stdout_closed(),
            _ => CommandError::new(SYSTEM, format!("cannot write to standard output: {error}")),
        })
    }

    /// Writes a line.
    pub(super) fn line(self, line: &str) -> Result<(), CommandError> {
        self.text(&format!("{line}\n"))
    }

    /// Writes a JSON document as one line.
    pub(super) fn json(self, document: &impl Serialize) -> Result<(), CommandError> {
        self.line(&escape_json(&serde_json::to_string(document).expect("all keys are strings")))
    }

    /// The text in this colour, or unchanged if the output has no colours.
    pub(super) fn paint(self, colour: Colour, text: &str) -> String {
        if self.is_coloured { colour.paint(text) } else { text.to_owned() }
    }
}

/// Writes a note for the user to standard error. A failure is ignored, because a note is not a
/// result of the command.
pub(super) fn print_note(line: &str) {
    let _ = writeln!(stderr(), "{}", escape_controls(line));
}
