//! The line editor: rustyline on a thread of its own, since it waits for keys.
//!
//! What is to appear above the line is drawn with the prompt, which rustyline draws whenever it draws the line anew. So
//! whatever is shown while a line is edited comes from the one thread that knows where the line stands. Its way to print
//! from elsewhere only wakes it: between two lines it would write into the next one.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::ErrorKind;
use std::sync::Arc;

use rustyline::completion::{Completer, Pair};
use rustyline::config::{BellStyle, ColorMode, CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::{History, MemHistory};
use rustyline::validate::Validator;
use rustyline::{Context, Editor, ExternalPrinter, Helper};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::input_history::{InputHistory, MAX_LINES};
use super::modes::TerminalModes;
use super::pending_output::PendingOutput;
use crate::cli::peer::input::UserInput;
use rollcall_chat::PeerRequest;
use rollcall_chat::console::{completions, needs_names};
use rollcall_core::escape::is_hidden;

/// Stands before the line if nothing else is asked.
const PROMPT: &str = "> ";
/// How long an escape may be the beginning of a key's sequence.
const KEY_SEQUENCE_TIMEOUT_MS: u16 = 500;
/// Wakes the editor: one line up and one down, since rustyline ends whatever it prints with a line break.
const WAKE_SEQUENCE: &str = "\x1b[A\n";

/// The editor.
pub(super) struct LineEditor {
    editor: Editor<EditorHelper, MemHistory>,
    pending_output: Arc<PendingOutput>,
    history: Option<InputHistory>,
}

/// Tells the editor that there is something to show.
pub(super) struct EditorWaker {
    printer: Box<dyn ExternalPrinter + Send>,
    pending_output: Arc<PendingOutput>,
}

impl LineEditor {
    /// An editor of standard input and output; `None` if this terminal cannot be edited on.
    pub(super) fn new(
        pending_output: Arc<PendingOutput>,
        modes: Arc<TerminalModes>,
        requests: mpsc::Sender<PeerRequest>,
        mut history: Option<InputHistory>,
    ) -> Option<(Self, EditorWaker)> {
        let config = Config::builder()
            .max_history_size(MAX_LINES)
            .and_then(|config| config.history_ignore_dups(true))
            .ok()?
            // Both of the other kinds wait for a key before they let anything be shown.
            .completion_type(CompletionType::List)
            .completion_show_all_if_ambiguous(true)
            .completion_prompt_limit(usize::MAX)
            .keyseq_timeout(Some(KEY_SEQUENCE_TIMEOUT_MS))
            .bell_style(BellStyle::None)
            // It draws no colours; this is what makes it ask for the prompt, whatever NO_COLOR says.
            .color_mode(ColorMode::Forced)
            .build();
        let mut recalled = MemHistory::with_config(&config);
        for line in history.iter_mut().flat_map(InputHistory::take_earlier) {
            recalled.add_owned(line).ok()?;
        }
        let mut editor = Editor::with_history(config, recalled).ok()?;
        let printer = match editor.create_external_printer() {
            Ok(printer) => Box::new(printer),
            Err(error) => {
                debug!("no line editing: {error}");
                return None;
            }
        };
        editor.set_helper(Some(EditorHelper {
            pending_output: Arc::clone(&pending_output),
            modes,
            requests,
            question: Cell::new(None),
            is_empty: Cell::new(true),
        }));
        let waker = EditorWaker { printer, pending_output: Arc::clone(&pending_output) };
        Some((Self { editor, pending_output, history }, waker))
    }

    /// Reads lines until the person, or the session, wants to end.
    pub(super) fn run(mut self, inputs: &mpsc::Sender<UserInput>) {
        let mut question = None;
        while self.pending_output.begin_line() {
            if let Some(assistant) = self.editor.helper() {
                assistant.question.set(question);
                assistant.is_empty.set(true);
            }
            let read = self.editor.readline(question.unwrap_or(PROMPT));
            self.pending_output.end_line();
            let (reply, answer) = oneshot::channel();
            let input = match read {
                Ok(line) => {
                    if question.is_none() {
                        self.remember(&line);
                    }
                    UserInput::Edited(line, reply)
                }
                // What was typed is given up first, then the question, then the chat.
                Err(ReadlineError::Interrupted) if !self.editor.helper().is_none_or(|it| it.is_empty.get()) => continue,
                Err(ReadlineError::Interrupted) => UserInput::Cancelled(reply),
                // A key that is no UTF-8.
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => continue,
                Err(error) => {
                    debug!("no more lines: {error}");
                    return;
                }
            };
            if inputs.blocking_send(input).is_err() {
                return;
            }
            let Ok(asked) = answer.blocking_recv() else { return };
            question = asked;
        }
    }

    /// Answers to questions are not remembered: the next line may ask for something else.
    fn remember(&mut self, line: &str) {
        let is_new = self.editor.add_history_entry(line).unwrap_or(false);
        if is_new
            && let Some(history) = &mut self.history
            && let Err(error) = history.add(line)
        {
            warn!("what is typed is not kept any more: {error}");
            self.history = None;
        }
    }
}

impl EditorWaker {
    /// Wakes the editor whenever it must be, until the end.
    pub(super) fn run(mut self) {
        while self.pending_output.wait_for_redraw() {
            if let Err(error) = self.printer.print(WAKE_SEQUENCE.to_owned()) {
                debug!("the editor is gone: {error}");
                return;
            }
        }
    }
}

/// What the editor asks while a line is edited.
struct EditorHelper {
    pending_output: Arc<PendingOutput>,
    modes: Arc<TerminalModes>,
    requests: mpsc::Sender<PeerRequest>,
    /// What is asked; `None`: a command or something to say.
    question: Cell<Option<&'static str>>,
    /// Whether nothing is typed.
    is_empty: Cell<bool>,
}

impl EditorHelper {
    /// What those who are there are called; nobody, if the peer has ended.
    fn fetch_uids(&self) -> Vec<String> {
        let (reply_tx, answer) = oneshot::channel();
        if self.requests.blocking_send(PeerRequest::PeerNames(reply_tx)).is_err() {
            return Vec::new();
        }
        answer.blocking_recv().unwrap_or_default()
    }
}

impl Helper for EditorHelper {}

impl Validator for EditorHelper {}

impl Completer for EditorHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (typed, question) = (&line[..pos], self.question.get());
        let uids = if needs_names(typed, question) { self.fetch_uids() } else { Vec::new() };
        let completions = completions(typed, question, &uids);
        let pair = |text: String| Pair { display: text.trim_end().to_owned(), replacement: text };
        Ok((completions.from, completions.texts.into_iter().map(pair).collect()))
    }
}

impl Hinter for EditorHelper {
    type Hint = String;

    /// Gives no hints: it is where the editor tells what the line has become.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.is_empty.set(line.is_empty());
        None
    }
}

impl Highlighter for EditorHelper {
    /// A line can hold anything that was pasted.
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if line.chars().any(must_be_hidden) {
            Cow::Owned(line.replace(must_be_hidden, "\u{fffd}"))
        } else {
            Cow::Borrowed(line)
        }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        self.modes.remember_editor_modes();
        // That of a search repeats what was typed.
        let prompt = if prompt.chars().any(must_be_hidden) {
            prompt.replace(must_be_hidden, "\u{fffd}")
        } else {
            prompt.to_owned()
        };
        Cow::Owned(self.pending_output.take_for_redraw() + &prompt)
    }

    fn highlight_char(&self, line: &str, _: usize, _: CmdKind) -> bool {
        line.chars().any(must_be_hidden)
    }
}

/// Whether the terminal would obey it; a pasted line break or tab is drawn as what it is.
fn must_be_hidden(c: char) -> bool {
    is_hidden(c) && c != '\n' && c != '\t'
}
