//! The end of each command's help: examples, and the exit codes.

/// Where the client's commands look besides their flags, and how they end.
const CLIENT: &str = "
Environment (a flag wins; an empty variable counts as unset):
  ROLLCALL_SERVER    the servers, separated by commas
  ROLLCALL_DATA_DIR  where the settings of users are kept [data]
  ROLLCALL_PASSWORD  the password
  NO_COLOR           no colours

Exit codes:
  0  done                          3  no such user or image
  1  refused                       4  no server or leader can be reached
  2  wrong command line            5  partly done";

/// The end of the help of a client's command.
pub(super) fn client(examples: &[&str]) -> String {
    format!("{}\n{CLIENT}", list(examples))
}

/// The end of the help of a command that asks nobody.
pub(super) fn local(examples: &[&str]) -> String {
    format!("{}\n\nExit codes:\n  0  done\n  1  cannot be written\n  2  wrong command line", list(examples))
}

fn list(examples: &[&str]) -> String {
    format!("Examples:\n  {}", examples.join("\n  "))
}
