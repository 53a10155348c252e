//! Chat session: executes the commands that the user types.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::display::ChatDisplay;
use super::input::UserInput;
use rollcall_chat::console::{ChatCommand, CommandParser, GivenName, HELP, history_lines, peer_list_lines};
use rollcall_chat::engine::Notice;
use rollcall_chat::{Avatar, MAX_AVATAR_BYTES, PeerProfile, PeerRequest};

/// Chat session of one user: sends requests to the peer and shows the replies.
pub(super) struct ChatSession {
    requests: mpsc::Sender<PeerRequest>,
    parser: CommandParser,
    pub(super) display: ChatDisplay,
}

impl ChatSession {
    pub(super) fn new(requests: mpsc::Sender<PeerRequest>, display: ChatDisplay) -> Self {
        Self { requests, parser: CommandParser::default(), display }
    }

    /// Handles one input. Returns whether the session continues.
    pub(super) async fn handle_input(&mut self, input: UserInput) -> bool {
        let (goes_on, reply) = match input {
            UserInput::Line(line) => (self.handle_line(&line).await, None),
            UserInput::Edited(line, reply) => (self.handle_line(&line).await, Some(reply)),
            // Ctrl-C cancels the open question. Without a question it ends the chat.
            UserInput::Cancelled(reply) => (self.parser.cancel(), Some(reply)),
        };
        if let Some(reply) = reply
            && goes_on
        {
            // The send fails only if the editor thread has ended, and then there is no more input.
            let _ = reply.send(self.parser.question());
        }
        goes_on
    }

    /// Executes one line. Returns whether the session continues.
    async fn handle_line(&mut self, line: &str) -> bool {
        if let Some(given) = self.parser.peer_name(line)
            && let Err(reason) = self.check_peer_name(given).await
        {
            // A question is asked again. If it were dropped, the answer to the next question could
            // become a message to everybody.
            let question = self.parser.question();
            let hint = if question.is_some() { "; an empty answer ends the command" } else { "" };
            self.show_rejection(reason + hint);
            if let Some(question) = question {
                self.display.show_question(question);
            }
            return true;
        }
        let goes_on = match self.parser.parse_line(line) {
            Some(command) => self.execute(command).await,
            None => true,
        };
        if let Some(question) = self.parser.question() {
            self.display.show_question(question);
        }
        goes_on
    }

    /// Executes a command. Returns whether the session continues.
    async fn execute(&mut self, command: ChatCommand) -> bool {
        match command {
            ChatCommand::Post(text) => self.send_request(PeerRequest::Post(text)).await,
            ChatCommand::Direct { to, text } => self.send_request(PeerRequest::SendDirect { to, text }).await,
            ChatCommand::Follow { to, follows } => self.send_request(PeerRequest::Follow { to, follows }).await,
            ChatCommand::Profile { name, status, avatar } => match read_avatar(&avatar).await {
                Ok(avatar) => {
                    self.send_request(PeerRequest::SetProfile(PeerProfile::new(&name, &status, avatar))).await;
                }
                Err(why) => {
                    self.show_rejection(why);
                    self.parser.ask_for_picture_again();
                }
            },
            ChatCommand::List => {
                let (reply_tx, reply_rx) = oneshot::channel();
                self.send_request(PeerRequest::ListPeers(reply_tx)).await;
                let known = reply_rx.await.unwrap_or_default();
                self.display.show_reply(&json!({"event": "list", "peers": &known}), || peer_list_lines(&known));
            }
            ChatCommand::History => {
                let (reply_tx, reply_rx) = oneshot::channel();
                self.send_request(PeerRequest::History(reply_tx)).await;
                let messages = reply_rx.await.unwrap_or_default();
                let entries: Vec<_> = messages
                    .iter()
                    .map(|(from, entry)| json!({"from": from, "text": entry.text, "said_at": entry.said_at}))
                    .collect();
                self.display.show_reply(&json!({"event": "history", "messages": entries}), || history_lines(&messages));
            }
            ChatCommand::Verbose => {
                let is_on = self.display.toggle_verbose();
                let line = format!("Verbose mode is {}", if is_on { "on" } else { "off" });
                self.display.show_reply(&json!({"event": "verbose", "on": is_on}), || vec![line]);
            }
            ChatCommand::Help => {
                let lines = || HELP.lines().map(str::to_owned).collect();
                self.display.show_reply(&json!({"event": "help", "text": HELP}), lines);
            }
            ChatCommand::Dropped => self.show_rejection("the answer was empty, so nothing was sent".to_owned()),
            ChatCommand::Quit => return false,
        }
        true
    }

    fn show_rejection(&mut self, reason: String) {
        self.display.show_notices(&[Notice::Rejected { reason }]);
    }

    /// Checks that a peer has this name. The error is the reason for the user.
    async fn check_peer_name(&self, given: GivenName<'_>) -> Result<(), String> {
        let (reply, result) = oneshot::channel();
        let (name, may_have_left) = (given.name.to_owned(), given.may_have_left);
        self.send_request(PeerRequest::CheckPeerName { name, may_have_left, reply }).await;
        // Without a result the peer has ended, and the session ends, too.
        result.await.unwrap_or(Ok(()))
    }

    async fn send_request(&self, request: PeerRequest) {
        // The send fails only if the peer has ended. Then the session ends, too.
        let _ = self.requests.send(request).await;
    }
}

/// Reads and checks the image file of an avatar. Returns `None` for an empty path.
async fn read_avatar(path: &str) -> Result<Option<Avatar>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    let read = |path: &Path| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte above the limit is enough to reject a file that is too large.
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
