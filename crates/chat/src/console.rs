//! What a person types and sees. Pure: lines in, wishes out; notices in, lines out.

mod command;
mod completion;
mod format;
mod log_line;

pub use command::{ChatCommand, CommandParser};
pub use completion::{Completions, completions, needs_names};
pub use format::{history_lines, notice_lines, peer_list_lines};
pub use log_line::log_line;

/// What `HELP` shows.
pub const HELP: &str = "\
POST text               say something to everybody; so does a line that begins with no command
DM name text            say something to one peer
PROFILE name | status | picture file
                        say who you are; status and picture may be left out
LIST                    who is here
HISTORY                 what was said
VERBOSE                 show more, or less again
HELP                    this
QUIT                    end
A command without what it needs asks for it.";
