//! Bracketed paste: collects the pasted text, so that each of its lines is handled as if it had
//! been typed. Without this, the line editor would insert the text with its line breaks into one
//! line.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustyline::{Cmd, ConditionalEventHandler, Event, EventContext, KeyCode, KeyEvent, Modifiers, RepeatCount};

/// Collector of pasted text, shared between the line editor and its key bindings.
#[derive(Clone, Default)]
pub(super) struct PasteCollector(Arc<Mutex<PasteState>>);

/// Progress of a paste.
#[derive(Default)]
enum PasteState {
    #[default]
    None,
    /// The text so far.
    Reading(String),
    /// The edited line with a pasted text that has line breaks.
    Complete(String),
}

impl PasteCollector {
    /// Takes the edited line with the pasted text, if a paste with line breaks has ended the line.
    pub(super) fn take_complete(&self) -> Option<String> {
        match std::mem::take(&mut *self.state()) {
            PasteState::Complete(text) => Some(text),
            PasteState::None | PasteState::Reading(_) => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, PasteState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConditionalEventHandler for PasteCollector {
    /// Handles a key. Between the two marks of a paste, no key is a command.
    fn handle(&self, event: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        let Event::KeySeq(keys) = event else { return None };
        let KeyEvent(code, modifiers) = *keys.first()?;
        let mut state = self.state();
        if code == KeyCode::BracketedPasteStart {
            *state = PasteState::Reading(String::new());
            return Some(Cmd::Noop);
        }
        let PasteState::Reading(text) = &mut *state else { return None };
        match code {
            KeyCode::BracketedPasteEnd => {
                let text = text.replace("\r\n", "\n").replace('\r', "\n");
                if !text.contains('\n') {
                    *state = PasteState::None;
                    return Some(Cmd::Insert(1, text));
                }
                let (before, after) = context.line().split_at(context.pos());
                *state = PasteState::Complete([before, &text, after].concat());
                return Some(Cmd::AcceptLine);
            }
            KeyCode::Enter => text.push('\r'),
            KeyCode::Char('J') if modifiers == Modifiers::CTRL => text.push('\n'),
            KeyCode::Tab => text.push('\t'),
            // One character, which starts a control sequence on some terminals.
            KeyCode::Esc if modifiers == Modifiers::SHIFT => text.push('\u{9b}'),
            KeyCode::Char(c) if modifiers == Modifiers::NONE => text.push(c),
            _ => {}
        }
        Some(Cmd::Noop)
    }
}
