//! Line editor: rustyline on its own thread, because it blocks while it waits for keys.
//!
//! Pending output is drawn together with the prompt, at each redraw of the line. So all output
//! during editing comes from the one thread that knows the position of the line. The external
//! printer of rustyline only wakes the editor. If it printed the output, text could appear inside
//! the next input line.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use rustyline::completion::{Completer, Pair};
use rustyline::config::{BellStyle, ColorMode, CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::{History, MemHistory};
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Event, EventHandler, ExternalPrinter, Helper};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::input_history::{InputHistory, MAX_LINES};
use super::modes::TerminalModes;
use super::paste::PasteCollector;
use super::pending_output::PendingOutput;
use crate::cli::peer::input::UserInput;
use rollcall_chat::PeerRequest;
use rollcall_chat::console::{completions, needs_names};
use rollcall_core::escape::is_hidden;

/// Prompt without a question.
const PROMPT: &str = "> ";
/// Time after an escape character within which the rest of a key sequence must arrive, in
/// milliseconds.
const KEY_SEQUENCE_TIMEOUT_MS: u16 = 500;
/// Text that wakes the editor and leaves the screen unchanged: one line up, then one line down.
/// rustyline ends each printed text with a line break, so the text ends with one too.
const WAKE_SEQUENCE: &str = "\x1b[A\n";

/// Line editor on standard input and output.
pub(super) struct LineEditor {
    editor: Editor<EditorHelper, MemHistory>,
    pending_output: Arc<PendingOutput>,
    history: Option<InputHistory>,
    paste: PasteCollector,
}

/// Wakes the editor when the line must be redrawn, for example to show pending output.
pub(super) struct EditorWaker {
    printer: Box<dyn ExternalPrinter + Send>,
    pending_output: Arc<PendingOutput>,
}

impl LineEditor {
    /// Creates the editor; `None` if the terminal does not support line editing.
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
            // The other completion types block the output until a key is pressed.
            .completion_type(CompletionType::List)
            .completion_show_all_if_ambiguous(true)
            .completion_prompt_limit(usize::MAX)
            .keyseq_timeout(Some(KEY_SEQUENCE_TIMEOUT_MS))
            .bell_style(BellStyle::None)
            // Forced, because without colours (as with NO_COLOR) rustyline does not call
            // `highlight_prompt`. Nothing is coloured.
            .color_mode(ColorMode::Forced)
            .build();
        let mut editor_history = MemHistory::with_config(&config);
        for line in history.iter_mut().flat_map(InputHistory::take_earlier) {
            editor_history.add_owned(line).ok()?;
        }
        let mut editor = Editor::with_history(config, editor_history).ok()?;
        let printer = match editor.create_external_printer() {
            Ok(printer) => Box::new(printer),
            Err(error) => {
                debug!(%error, "line editing is not available");
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
        let paste = PasteCollector::default();
        editor.bind_sequence(Event::Any, EventHandler::Conditional(Box::new(paste.clone())));
        let waker = EditorWaker { printer, pending_output: Arc::clone(&pending_output) };
        Some((Self { editor, pending_output, history, paste }, waker))
    }

    /// Reads lines until the input or the session ends.
    pub(super) fn run(mut self, inputs: &mpsc::Sender<UserInput>) {
        let mut question = None;
        // Lines of a paste that are not handled yet, and the text after its last line break.
        let (mut pasted, mut rest) = (VecDeque::<String>::new(), String::new());
        loop {
            let prompt = question.unwrap_or(PROMPT);
            let read = if let Some(line) = pasted.pop_front() {
                self.show_pasted(prompt, &line);
                Ok(line)
            } else if self.pending_output.begin_line() {
                if let Some(helper) = self.editor.helper() {
                    helper.question.set(question);
                    helper.is_empty.set(rest.is_empty());
                }
                let read = self.editor.readline_with_initial(prompt, (&std::mem::take(&mut rest), ""));
                self.pending_output.end_line();
                read
            } else {
                return;
            };
            let read = match self.paste.take_complete() {
                Some(text) if read.is_ok() => {
                    pasted = text.split('\n').map(str::to_owned).collect();
                    rest = pasted.pop_back().unwrap_or_default();
                    continue;
                }
                _ => read,
            };
            let (reply, answer) = oneshot::channel();
            let input = match read {
                Ok(line) => {
                    if question.is_none() {
                        self.remember(&line);
                    }
                    UserInput::Edited(line, reply)
                }
                // Ctrl-C drops the typed text. On an empty line it cancels the question, or else
                // ends the chat.
                Err(ReadlineError::Interrupted) if !self.editor.helper().is_none_or(|it| it.is_empty.get()) => continue,
                Err(ReadlineError::Interrupted) => UserInput::Cancelled(reply),
                // Invalid UTF-8 was typed.
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => continue,
                Err(error) => {
                    debug!(%error, "the input has ended");
                    return;
                }
            };
            if inputs.blocking_send(input).is_err() {
                return;
            }
            let Ok(next_question) = answer.blocking_recv() else { return };
            question = next_question;
        }
    }

    /// Writes a pasted line to the terminal, as it would look if it had been typed.
    fn show_pasted(&self, prompt: &str, line: &str) {
        let hides = |c: char| must_be_hidden(c) || c == '\t';
        self.pending_output.write(&format!("{prompt}{}\n", line.replace(hides, "\u{fffd}")));
    }

    /// Adds a line to the history. The caller passes no answers to questions, because they are not
    /// commands.
    fn remember(&mut self, line: &str) {
        let is_new = self.editor.add_history_entry(line).unwrap_or(false);
        if is_new
            && let Some(history) = &mut self.history
            && let Err(error) = history.add(line)
        {
            warn!(%error, "the input history is no longer stored");
            self.history = None;
        }
    }
}

impl EditorWaker {
    /// Wakes the editor for each redraw, until the shutdown.
    pub(super) fn run(mut self) {
        while self.pending_output.wait_for_redraw() {
            if let Err(error) = self.printer.print(WAKE_SEQUENCE.to_owned()) {
                debug!(%error, "the line editor has ended");
                return;
            }
        }
    }
}

/// Callbacks of rustyline during editing.
struct EditorHelper {
    pending_output: Arc<PendingOutput>,
    modes: Arc<TerminalModes>,
    requests: mpsc::Sender<PeerRequest>,
    /// Current question; `None` for an ordinary line.
    question: Cell<Option<&'static str>>,
    /// Whether the line is empty.
    is_empty: Cell<bool>,
}

impl EditorHelper {
    /// Uids of the known peers; empty if the peer has ended.
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

    /// Gives no hints. It only records whether the line is empty, because rustyline calls it after
    /// each change.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.is_empty.set(line.is_empty());
        None
    }
}

impl Highlighter for EditorHelper {
    /// Replaces control characters, which a pasted line can contain.
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if line.chars().any(must_be_hidden) {
            Cow::Owned(line.replace(must_be_hidden, "\u{fffd}"))
        } else {
            Cow::Borrowed(line)
        }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        self.modes.remember_editor_modes();
        // The prompt of a history search contains typed text.
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

/// Whether the terminal would interpret the character. rustyline draws pasted line breaks and tabs
/// itself.
fn must_be_hidden(c: char) -> bool {
    is_hidden(c) && c != '\n' && c != '\t'
}
