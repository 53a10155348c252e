//! What becomes of what a person types.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::display::Display;
use super::keyboard::Input;
use rollcall_chat::engine::Notice;
use rollcall_chat::screen::{Command, Dialogue, HELP, history_lines, known_lines};
use rollcall_chat::{Ask, Avatar, MAX_AVATAR_BYTES, Profile};

/// The person at the peer.
pub(super) struct Session {
    asks: mpsc::Sender<Ask>,
    dialogue: Dialogue,
    pub(super) display: Display,
}

impl Session {
    pub(super) fn new(asks: mpsc::Sender<Ask>, display: Display) -> Self {
        Self { asks, dialogue: Dialogue::default(), display }
    }

    /// Takes what was typed; whether to go on.
    pub(super) async fn typed(&mut self, input: Input) -> bool {
        let (goes_on, reply) = match input {
            Input::Line(line) => (self.line(&line).await, None),
            Input::Edited(line, reply) => (self.line(&line).await, Some(reply)),
            // With nothing asked there is nothing to give up but the chat.
            Input::GivenUp(reply) => (self.dialogue.give_up(), Some(reply)),
        };
        if let Some(reply) = reply
            && goes_on
        {
            // It is gone only if its thread is, and then there is no more input.
            let _ = reply.send(self.dialogue.question());
        }
        goes_on
    }

    /// Does what a line says; whether to go on.
    async fn line(&mut self, line: &str) -> bool {
        let command = self.dialogue.take(line);
        if let Some(question) = self.dialogue.question() {
            self.display.ask(question);
        }
        match command {
            None => {}
            Some(Command::Post(text)) => self.want(Ask::Post(text)).await,
            Some(Command::Direct { to, text }) => self.want(Ask::Whisper { to, text }).await,
            Some(Command::Profile { name, status, avatar }) => match read_avatar(&avatar).await {
                Ok(avatar) => self.want(Ask::Introduce(Profile::new(&name, &status, avatar))).await,
                Err(why) => self.display.tell(&[Notice::Refused { why }]),
            },
            Some(Command::List) => {
                let (answer_in, answer) = oneshot::channel();
                self.want(Ask::List(answer_in)).await;
                let known = answer.await.unwrap_or_default();
                self.display.show(&json!({"event": "list", "peers": &known}), || known_lines(&known));
            }
            Some(Command::History) => {
                let (answer_in, answer) = oneshot::channel();
                self.want(Ask::History(answer_in)).await;
                let said = answer.await.unwrap_or_default();
                let entries: Vec<_> = said
                    .iter()
                    .map(|(from, entry)| json!({"from": from, "text": entry.text, "said_at": entry.said_at}))
                    .collect();
                self.display.show(&json!({"event": "history", "messages": entries}), || history_lines(&said));
            }
            Some(Command::Verbose) => {
                let is_on = self.display.toggle_verbose();
                let line = format!("Verbose mode is {}", if is_on { "on" } else { "off" });
                self.display.show(&json!({"event": "verbose", "on": is_on}), || vec![line]);
            }
            Some(Command::Help) => {
                let lines = || HELP.lines().map(str::to_owned).collect();
                self.display.show(&json!({"event": "help", "text": HELP}), lines);
            }
            Some(Command::Quit) => return false,
        }
        true
    }

    async fn want(&self, ask: Ask) {
        // It fails only when the peer ends, which ends the session, too.
        let _ = self.asks.send(ask).await;
    }
}

async fn read_avatar(path: &str) -> Result<Option<Avatar>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    let read = |path: &Path| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // A file that is too large is not read to its end.
        io::Read::read_to_end(
            &mut io::Read::take(std::fs::File::open(path)?, MAX_AVATAR_BYTES as u64 + 1),
            &mut bytes,
        )?;
        Ok(bytes)
    };
    let file = PathBuf::from(path);
    let bytes = tokio::task::spawn_blocking(move || read(&file)).await.map_err(|error| error.to_string())?;
    let bytes = bytes.map_err(|error| format!("cannot read {path}: {error}"))?;
    Avatar::new(&bytes).map(Some).map_err(|why| format!("{path}: {why}"))
}
