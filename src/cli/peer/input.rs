//! What a person types, or a script writes.

use std::io::{self, BufRead, Read};
use std::thread;

use tokio::sync::{mpsc, oneshot};

/// Lines that were typed and not read yet.
const LINE_QUEUE: usize = 64;
/// The longest line that is read; the rest of a longer one is thrown away.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// One thing that was typed.
#[derive(Debug)]
pub(super) enum UserInput {
    /// A line of a file or a script.
    Line(String),
    /// A line of the line editor, which waits for what is asked next.
    Edited(String, NextQuestion),
    /// The person does not want to answer what was asked.
    Cancelled(NextQuestion),
}

/// Where the line editor is told what is asked next, `None` for nothing; it ends if nothing is told.
pub(super) type NextQuestion = oneshot::Sender<Option<&'static str>>;

/// Where input comes from; it ends with `None`.
pub(super) struct InputSource {
    inputs: mpsc::Receiver<UserInput>,
    /// Without input nobody else has a sender.
    _open: Option<mpsc::Sender<UserInput>>,
}

impl InputSource {
    /// The lines of standard input. A thread and not a task: a read of standard input cannot be interrupted, and the runtime
    /// would wait for it at the end; a thread just ends with the process.
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

    /// Nobody types anything, and there is no end of it either.
    pub(super) fn none() -> Self {
        let (sender, inputs) = mpsc::channel(1);
        Self { inputs, _open: Some(sender) }
    }

    /// What a line editor sends.
    pub(super) fn from_channel(inputs: mpsc::Receiver<UserInput>) -> Self {
        Self { inputs, _open: None }
    }

    pub(super) async fn next(&mut self) -> Option<UserInput> {
        self.inputs.recv().await
    }
}

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
