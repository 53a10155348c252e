//! Last part of the `--help` of each command: examples, environment variables, exit codes.

use super::exit::{CLIENT_CODES, DEMO_CODES, LOCAL_CODES, help_lines};

/// The environment variables of the client commands.
const CLIENT_ENVIRONMENT: &str = "\
Environment (a flag wins over a variable; an empty variable counts as unset):
  ROLLCALL_SERVER    URLs of the nodes to ask, separated by commas [http://localhost:3000]
  ROLLCALL_DATA_DIR  directory of the users' settings files [data]
  ROLLCALL_PASSWORD  password of the user, for commands that need one
  NO_COLOR           if set, output has no colours";

/// The end of the help of a command that contacts the registry.
pub(super) fn client(examples: &[&str]) -> String {
    format!("{}\n\n{CLIENT_ENVIRONMENT}\n\nExit codes:{}", example_list(examples), help_lines(CLIENT_CODES))
}

/// The end of the help of a command that contacts no server.
pub(super) fn local(examples: &[&str]) -> String {
    format!("{}\n\nExit codes:{}", example_list(examples), help_lines(LOCAL_CODES))
}

/// The end of the help of the demo.
pub(super) fn demo(examples: &[&str]) -> String {
    format!("{}\n\nExit codes:{}", example_list(examples), help_lines(DEMO_CODES))
}

fn example_list(examples: &[&str]) -> String {
    format!("Examples:\n  {}", examples.join("\n  "))
}
