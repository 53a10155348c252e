//! Input of `rollcall peer`: lines from standard input or from the line editor.

use std::io::{self, BufRead, Read};
use std::thread;

use tokio::sync::{mpsc, oneshot};

/// Capacity of the queue of input lines, in lines.
const LINE_QUEUE: usize = 64;
/// Longest line, in bytes. The rest of a longer line is dropped.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// One input of the user.
#[derive(Debug)]
pub(super) enum UserInput {
    /// Line of standard input.
    Line(String),
    /// Line of the line editor. The editor waits until it receives its next prompt.
    Edited(String, NextQuestion),
    /// The user cancelled the question with Ctrl-C.
    Cancelled(NextQuestion),
}

/// Channel for the next prompt of the line editor: a question, or `None` for the ordinary prompt.
/// If it is dropped without a value, the editor ends.
pub(super) type NextQuestion = oneshot::Sender<Option<&'static str>>;

/// Source of input.
pub(super) struct InputSource {
    inputs: mpsc::Receiver<UserInput>,
    /// Keeps the channel open for a source without input.
    _open: Option<mpsc::Sender<UserInput>>,
}

impl InputSource {
    /// Reads lines of standard input on a thread. A tokio task would delay the shutdown: a read of
    /// standard input cannot be cancelled, and the runtime would wait for it. A thread ends with
    /// the process.
    pub(super) fn from_stdin() -> io::Result<Self> {
        let (lines, receiver) = mpsc::channel(LINE_QUEUE);
        let read = move || {
            let mut input = io::stdin().lock();
            while let Some(line) = next_line(&mut input) {
                if lines.blocking_send(UserInput::Line(line)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("stdin".to_owned()).spawn(read)?;
        Ok(Self::from_channel(receiver))
    }

    /// A source without input that never ends.
    pub(super) fn none() -> Self {
        let (sender, inputs) = mpsc::channel(1);
        Self { inputs, _open: Some(sender) }
    }

    /// Input of a line editor.
    pub(super) fn from_channel(inputs: mpsc::Receiver<UserInput>) -> Self {
        Self { inputs, _open: None }
    }

    /// Waits for the next input; `None` after the last one.
    pub(super) async fn next(&mut self) -> Option<UserInput> {
        self.inputs.recv().await
    }
}

/// Reads the next line with its line break; `None` at the end of the input or after an error.
fn next_line(input: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let length = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).ok()?;
    if length == 0 {
        return None;
    }
    if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE_BYTES {
        input.skip_until(b'\n').ok()?;
    }
    Some(String::from_utf8_lossy(&line).into_owned())
}
