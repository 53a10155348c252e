//! Parser for typed lines. If the user types a command without its arguments, the parser asks for
//! them, one per line.

/// Command words. The flag is true if the command takes arguments.
pub(super) const COMMANDS: [(&str, bool); 8] = [
    ("POST", true),
    ("DM", true),
    ("PROFILE", true),
    ("LIST", false),
    ("HISTORY", false),
    ("VERBOSE", false),
    ("HELP", false),
    ("QUIT", false),
];
/// Prompt for the name of a peer. At this prompt, Tab completes names.
pub(super) const NAME_QUESTION: &str = "To: ";

/// Complete command of the user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChatCommand {
    /// Post a text to all peers.
    Post(String),
    /// Send a direct message.
    Direct {
        /// Name of the recipient.
        to: String,
        /// Text of the message.
        text: String,
    },
    /// Set the profile.
    Profile {
        /// Display name.
        name: String,
        /// Status text.
        status: String,
        /// Path of an image file; empty for none.
        avatar: String,
    },
    /// List the known peers.
    List,
    /// Show the history.
    History,
    /// Toggle the verbose mode.
    Verbose,
    /// Show the help.
    Help,
    /// End the chat.
    Quit,
}

/// Line parser. Holds the arguments of a command that is not complete yet.
#[derive(Clone, Debug, Default)]
pub struct CommandParser {
    /// Command that still lacks arguments.
    verb: Option<Verb>,
    /// Arguments of `verb` so far.
    answers: Vec<String>,
}

/// Command that takes arguments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verb {
    Post,
    Direct,
    Profile,
}

impl Verb {
    fn questions(self) -> &'static [&'static str] {
        match self {
            Self::Post => &["Message: "],
            Self::Direct => &[NAME_QUESTION, "Message: "],
            Self::Profile => &["Display name: ", "Status: ", "Picture file (none if empty): "],
        }
    }
}

impl CommandParser {
    /// Parses a line: a command, or an answer to the current question. Returns the command if this
    /// line completes it.
    pub fn parse_line(&mut self, line: &str) -> Option<ChatCommand> {
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some(verb) = self.verb {
            self.answers.push(line.trim().to_owned());
            if self.answers.len() < verb.questions().len() {
                return None;
            }
            self.verb = None;
            return complete_command(verb, std::mem::take(&mut self.answers));
        }
        let (word, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let rest = rest.trim();
        // Commands are recognised only in capitals, because a message may begin with "list" or
        // "post".
        let verb = match word {
            "" => return None,
            "POST" => Verb::Post,
            "DM" => Verb::Direct,
            "PROFILE" => Verb::Profile,
            "LIST" | "HISTORY" | "VERBOSE" | "HELP" | "QUIT" if rest.is_empty() => return Some(simple_command(word)),
            _ => return Some(ChatCommand::Post(line.trim().to_owned())),
        };
        let answers: Vec<String> = match (verb, rest) {
            (_, "") => Vec::new(),
            (Verb::Post, text) => vec![text.to_owned()],
            (Verb::Direct, rest) => rest.splitn(2, char::is_whitespace).map(|part| part.trim().to_owned()).collect(),
            (Verb::Profile, rest) => rest.splitn(3, '|').map(|part| part.trim().to_owned()).collect(),
        };
        // A profile on one line needs only the display name.
        let is_complete = answers.len() >= verb.questions().len() || (verb == Verb::Profile && !answers.is_empty());
        if is_complete {
            return complete_command(verb, answers);
        }
        self.verb = Some(verb);
        self.answers = answers;
        None
    }

    /// Drops the incomplete command. Returns false if there was none.
    pub fn cancel(&mut self) -> bool {
        self.answers.clear();
        self.verb.take().is_some()
    }

    /// The question for the next argument; `None` if no command is incomplete.
    #[must_use]
    pub fn question(&self) -> Option<&'static str> {
        self.verb.and_then(|verb| verb.questions().get(self.answers.len()).copied())
    }
}

fn simple_command(word: &str) -> ChatCommand {
    match word {
        "LIST" => ChatCommand::List,
        "HISTORY" => ChatCommand::History,
        "VERBOSE" => ChatCommand::Verbose,
        "HELP" => ChatCommand::Help,
        _ => ChatCommand::Quit,
    }
}

/// Builds the command from its arguments; `None` if a required one is empty.
fn complete_command(verb: Verb, answers: Vec<String>) -> Option<ChatCommand> {
    let mut answers = answers.into_iter();
    let mut next = || answers.next().unwrap_or_default();
    let command = match verb {
        Verb::Post => ChatCommand::Post(next()),
        Verb::Direct => ChatCommand::Direct { to: next(), text: next() },
        Verb::Profile => ChatCommand::Profile { name: next(), status: next(), avatar: next() },
    };
    let is_empty = match &command {
        ChatCommand::Post(text) => text.is_empty(),
        ChatCommand::Direct { to, text } => to.is_empty() || text.is_empty(),
        ChatCommand::Profile { name, .. } => name.is_empty(),
        _ => false,
    };
    (!is_empty).then_some(command)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Option<ChatCommand> {
        CommandParser::default().parse_line(line)
    }

    #[test]
    fn a_line_without_a_command_posts_and_a_word_in_capitals_is_a_command() {
        assert_eq!(parse("hello there\n"), Some(ChatCommand::Post("hello there".into())));
        assert_eq!(parse("POST  hello there"), Some(ChatCommand::Post("hello there".into())));
        assert_eq!(parse("post office"), Some(ChatCommand::Post("post office".into())));
        assert_eq!(parse("LIST of things"), Some(ChatCommand::Post("LIST of things".into())));
        assert_eq!(
            parse("DM bob  psst, you"),
            Some(ChatCommand::Direct { to: "bob".into(), text: "psst, you".into() })
        );
        assert_eq!(
            (parse(" LIST \r\n"), parse("QUIT"), parse(" ")),
            (Some(ChatCommand::List), Some(ChatCommand::Quit), None)
        );
        let profile = ChatCommand::Profile { name: "Al B".into(), status: "here".into(), avatar: "a.png".into() };
        assert_eq!(parse("PROFILE Al B | here|a.png"), Some(profile));
    }

    #[test]
    fn a_command_without_arguments_asks_for_them() {
        let mut parser = CommandParser::default();
        assert_eq!((parser.parse_line("DM"), parser.question()), (None, Some("To: ")));
        assert_eq!((parser.parse_line("bob"), parser.question()), (None, Some("Message: ")));
        assert_eq!(parser.parse_line("QUIT"), Some(ChatCommand::Direct { to: "bob".into(), text: "QUIT".into() }));
        assert_eq!((parser.parse_line("DM bob"), parser.question()), (None, Some("Message: ")));
        assert_eq!((parser.parse_line(""), parser.question()), (None, None), "an empty answer drops the command");
        assert_eq!((parser.parse_line("POST"), parser.parse_line("hi")), (None, Some(ChatCommand::Post("hi".into()))));
        assert_eq!((parser.parse_line("DM bob"), parser.cancel(), parser.question()), (None, true, None));
        assert_eq!((parser.cancel(), parser.parse_line("hi")), (false, Some(ChatCommand::Post("hi".into()))));
    }

    #[test]
    fn every_listed_command_word_is_parsed_as_a_command() {
        for (verb, has_arguments) in COMMANDS {
            let mut parser = CommandParser::default();
            let command = parser.parse_line(verb);
            assert_eq!((command.is_none(), parser.question().is_some()), (has_arguments, has_arguments), "{verb}");
            assert!(!matches!(command, Some(ChatCommand::Post(_))), "{verb}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(lines in prop::collection::vec("(POST|DM|PROFILE|LIST)?[ |a]{0,5}\\PC{0,9}", 0..9)) {
            let mut parser = CommandParser::default();
            for line in lines {
                let _ = (parser.parse_line(&line), parser.question());
            }
        }
    }
}
