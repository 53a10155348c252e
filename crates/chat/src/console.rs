//! Text interface of the chat: parses typed lines into commands, completes them, and formats
//! notices as lines. Pure.

mod command;
mod completion;
mod format;
mod log_line;

pub use command::{ChatCommand, CommandParser, GivenName};
pub use completion::{Completions, completions, needs_names};
pub use format::{history_lines, notice_lines, peer_list_lines};
pub use log_line::log_line;

/// Output of the command `HELP`.
pub const HELP: &str = "\
POST text               send a message to all peers; a line without a command does the same
DM name text            send a message to one peer
FOLLOW name             ask a LAN peer for its posts; some programs send them to followers only
UNFOLLOW name           no longer follow it
PROFILE name | status | picture file
                        set your profile; status and picture file are optional
LIST                    show the known peers
HISTORY                 show the messages so far
VERBOSE                 show more details, or fewer again
HELP                    show this text
QUIT                    leave the chat
A command without its arguments asks for them. A single word can be in any case.";
