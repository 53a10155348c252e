//! Parser for typed lines. If the user types a command without its arguments, the parser asks for
//! them, one per line.

/// Command words. The flag is true if the command takes arguments.
pub(super) const COMMANDS: [(&str, bool); 10] = [
    ("POST", true),
    ("DM", true),
    ("FOLLOW", true),
    ("UNFOLLOW", true),
    ("PROFILE", true),
    ("LIST", false),
    ("HISTORY", false),
    ("VERBOSE", false),
    ("HELP", false),
    ("QUIT", false),
];
/// Commands whose first argument is the name of a peer.
const NAME_COMMANDS: [&str; 3] = ["DM", "FOLLOW", "UNFOLLOW"];
/// Prompt for the recipient of a direct message. At this prompt, Tab completes names.
const RECIPIENT_QUESTION: &str = "To: ";
/// Prompt for the peer to follow. At this prompt, Tab completes names.
const FOLLOW_QUESTION: &str = "Peer: ";
/// Prompt for the picture of a profile.
const PICTURE_QUESTION: &str = "Picture (y, n or a file): ";

/// Whether the answer to the question is the name of a peer.
pub(super) fn asks_for_name(question: &str) -> bool {
    [RECIPIENT_QUESTION, FOLLOW_QUESTION].contains(&question)
}

/// Whether the word is a command whose first argument is the name of a peer, in any case.
pub(super) fn takes_name(word: &str) -> bool {
    NAME_COMMANDS.iter().any(|command| command.eq_ignore_ascii_case(word))
}

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
    /// Follow a peer, or no longer follow it.
    Follow {
        /// Name of the peer.
        to: String,
        /// Whether to follow it.
        follows: bool,
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
    /// The answer to a question was empty, so the command is dropped and nothing is sent.
    Dropped,
}

/// Name of a peer in a line, which the caller must check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GivenName<'l> {
    /// The name.
    pub name: &'l str,
    /// Whether the peer may have left: this peer can follow it nevertheless.
    pub may_have_left: bool,
}

/// Line parser. Holds the arguments of a command that is not complete yet.
///
/// A message may begin with a command word. So a line is a command only if it is exactly a command
/// word, in any case; if it begins with `POST` or `PROFILE` in capitals; or if it begins with a
/// command that takes the name of a peer. For the last kind, the caller checks the name first
/// ([`Self::peer_name`]).
#[derive(Clone, Debug, Default)]
pub struct CommandParser {
    /// Command that still lacks arguments.
    verb: Option<Verb>,
    /// Arguments of `verb` so far.
    answers: Vec<String>,
    /// Display name and status of the latest command, if it was a profile.
    latest_profile: Option<[String; 2]>,
}

/// Command that takes arguments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verb {
    Post,
    Direct,
    Follow,
    Unfollow,
    Profile,
}

impl Verb {
    /// The question for the argument after these answers; `None` if there are enough.
    fn next_question(self, answers: &[String]) -> Option<&'static str> {
        let questions: &[&str] = match self {
            Self::Post => &["Message: "],
            Self::Direct => &[RECIPIENT_QUESTION, "Message: "],
            Self::Follow | Self::Unfollow => &[FOLLOW_QUESTION],
            Self::Profile if answers.get(2).is_some_and(|picture| is_word(picture, &["y", "yes"])) => {
                &["Display name: ", "Status: ", PICTURE_QUESTION, "Picture file: "]
            }
            Self::Profile => &["Display name: ", "Status: ", PICTURE_QUESTION],
        };
        questions.get(answers.len()).copied()
    }

    /// Whether the answer with this index must not be empty. Of a profile, only the display name is
    /// required.
    fn is_required(self, index: usize) -> bool {
        self != Self::Profile || index == 0
    }
}

impl CommandParser {
    /// The name that the line gives as the name of a peer. If no peer has this name, the caller
    /// must reject the line, because it may be a message to everybody that begins with a command
    /// word.
    #[must_use]
    pub fn peer_name<'l>(&self, line: &'l str) -> Option<GivenName<'l>> {
        let line = line.trim();
        let (name, may_have_left) = if let Some(question) = self.question() {
            (asks_for_name(question).then_some(line)?, self.verb == Some(Verb::Unfollow))
        } else {
            let (word, rest) = split_word(line);
            (takes_name(word).then(|| split_word(rest).0)?, is_word(word, &["UNFOLLOW"]))
        };
        (!name.is_empty()).then_some(GivenName { name, may_have_left })
    }

    /// Parses a line: a command, or an answer to the current question. Returns the command if this
    /// line completes it.
    pub fn parse_line(&mut self, line: &str) -> Option<ChatCommand> {
        let line = line.trim();
        self.latest_profile = None;
        if let Some(verb) = self.verb {
            if line.is_empty() && verb.is_required(self.answers.len()) {
                self.cancel();
                return Some(ChatCommand::Dropped);
            }
            self.answers.push(line.to_owned());
            return self.finish_if_complete(verb);
        }
        let (word, rest) = split_word(line);
        let is_command = |command: &str| word.eq_ignore_ascii_case(command) && rest.is_empty();
        if line.is_empty() {
            return None;
        } else if let Some(command) = simple_command(word).filter(|_| rest.is_empty()) {
            return Some(command);
        }
        let verb = match word {
            "POST" => Verb::Post,
            "PROFILE" => Verb::Profile,
            _ if is_command("POST") => Verb::Post,
            _ if is_command("PROFILE") => Verb::Profile,
            _ if word.eq_ignore_ascii_case("DM") => Verb::Direct,
            // "follow bob to the door" is a message to everybody.
            _ if takes_name(word) && split_word(rest).1.is_empty() => {
                if word.eq_ignore_ascii_case("FOLLOW") {
                    Verb::Follow
                } else {
                    Verb::Unfollow
                }
            }
            _ => return Some(ChatCommand::Post(line.to_owned())),
        };
        self.answers = match (verb, rest) {
            (_, "") => Vec::new(),
            (Verb::Direct, rest) => rest.splitn(2, char::is_whitespace).map(|part| part.trim().to_owned()).collect(),
            (Verb::Profile, rest) => rest.splitn(3, '|').map(|part| part.trim().to_owned()).collect(),
            (Verb::Post | Verb::Follow | Verb::Unfollow, rest) => vec![rest.to_owned()],
        };
        // A profile on one line needs only the display name.
        if verb == Verb::Profile && !rest.is_empty() {
            self.answers.resize(self.answers.len().max(3), String::new());
        }
        self.finish_if_complete(verb)
    }

    /// Asks for the picture of the latest command again, because its file cannot be used. Returns
    /// false if that command was no profile.
    pub fn ask_for_picture_again(&mut self) -> bool {
        let Some(answers) = self.latest_profile.take() else { return false };
        (self.verb, self.answers) = (Some(Verb::Profile), answers.to_vec());
        true
    }

    /// Drops the incomplete command. Returns false if there was none.
    pub fn cancel(&mut self) -> bool {
        self.answers.clear();
        self.verb.take().is_some()
    }

    /// The question for the next argument; `None` if no command is incomplete.
    #[must_use]
    pub fn question(&self) -> Option<&'static str> {
        self.verb.and_then(|verb| verb.next_question(&self.answers))
    }

    /// Builds the command if it has all arguments. Otherwise the next line is its next argument.
    fn finish_if_complete(&mut self, verb: Verb) -> Option<ChatCommand> {
        if verb.next_question(&self.answers).is_some() {
            self.verb = Some(verb);
            return None;
        }
        self.verb = None;
        let command = complete_command(verb, std::mem::take(&mut self.answers));
        if let ChatCommand::Profile { name, status, .. } = &command {
            self.latest_profile = Some([name.clone(), status.clone()]);
        }
        Some(command)
    }
}

/// Splits off the first word. Both parts are trimmed.
fn split_word(line: &str) -> (&str, &str) {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (word, rest.trim())
}

/// Whether the text is one of the words, in any case.
fn is_word(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// The command without arguments that this word is, in any case.
fn simple_command(word: &str) -> Option<ChatCommand> {
    let command = match word.to_ascii_uppercase().as_str() {
        "LIST" => ChatCommand::List,
        "HISTORY" => ChatCommand::History,
        "VERBOSE" => ChatCommand::Verbose,
        "HELP" => ChatCommand::Help,
        "QUIT" => ChatCommand::Quit,
        _ => return None,
    };
    Some(command)
}

/// Builds the command from its arguments.
fn complete_command(verb: Verb, answers: Vec<String>) -> ChatCommand {
    let mut answers = answers.into_iter();
    let mut next = || answers.next().unwrap_or_default();
    let command = match verb {
        Verb::Post => ChatCommand::Post(next()),
        Verb::Direct => ChatCommand::Direct { to: next(), text: next() },
        Verb::Follow | Verb::Unfollow => ChatCommand::Follow { to: next(), follows: verb == Verb::Follow },
        Verb::Profile => {
            let (name, status, picture, file) = (next(), next(), next(), next());
            let avatar = match &picture {
                answer if is_word(answer, &["y", "yes"]) => file,
                answer if is_word(answer, &["n", "no"]) => String::new(),
                _ => picture,
            };
            ChatCommand::Profile { name, status, avatar }
        }
    };
    match &command {
        ChatCommand::Profile { name, .. } if name.is_empty() => ChatCommand::Dropped,
        _ => command,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Option<ChatCommand> {
        CommandParser::default().parse_line(line)
    }

    #[test]
    fn a_line_that_is_exactly_a_command_in_any_case_is_that_command_and_a_sentence_is_chat() {
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
        for line in ["list", "List", " lIsT\r\n"] {
            assert_eq!(parse(line), Some(ChatCommand::List), "{line:?}");
        }
        for (line, question) in
            [("post", "Message: "), ("Dm", "To: "), ("unfollow", "Peer: "), ("Profile", "Display name: ")]
        {
            let mut parser = CommandParser::default();
            assert_eq!((parser.parse_line(line), parser.question()), (None, Some(question)));
        }
        for line in [
            "list the files please",
            "Post hello",
            "profile of a peer",
            "quit it",
            "lists",
            "FOLLOWER",
            "follow bob to the door",
            "UNFOLLOW bob now",
            "dms are open",
        ] {
            assert_eq!(parse(line), Some(ChatCommand::Post(line.into())));
        }
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
        parser.cancel();
        for command in ["DM bob", "DM", "post", "follow", "Unfollow", "profile"] {
            parser.parse_line(command);
            assert!(parser.question().is_some(), "{command}");
            let dropped = (Some(ChatCommand::Dropped), None);
            assert_eq!((parser.parse_line(" "), parser.question()), dropped, "{command}: an empty answer");
        }
        assert_eq!(parser.parse_line("PROFILE | here"), Some(ChatCommand::Dropped), "a profile without a name");
        assert_eq!((parser.parse_line("POST"), parser.parse_line("hi")), (None, Some(ChatCommand::Post("hi".into()))));
        assert_eq!((parser.parse_line("DM bob"), parser.cancel(), parser.question()), (None, true, None));
        assert_eq!((parser.cancel(), parser.parse_line("hi")), (false, Some(ChatCommand::Post("hi".into()))));
    }

    #[test]
    fn the_name_after_dm_and_follow_must_be_checked_whatever_the_case_of_the_command() {
        let name = |line| CommandParser::default().peer_name(line).map(|given| given.name);
        let may_have_left = |line| CommandParser::default().peer_name(line).is_some_and(|given| given.may_have_left);
        assert_eq!(["dm bob", "follow bob", "unfollow bob"].map(may_have_left), [false, false, true]);
        for line in ["DM bob hi", "dm  bob", "Follow bob", "unfollow bob", "follow bob to the door"] {
            assert_eq!(name(line), Some("bob"), "{line}");
        }
        for line in ["dm", "post bob", "hello bob", "", "dms bob"] {
            assert_eq!(name(line), None, "{line}");
        }
        let mut parser = CommandParser::default();
        assert_eq!(parser.parse_line("follow bob"), Some(ChatCommand::Follow { to: "bob".into(), follows: true }));
        assert_eq!(parser.parse_line("UNFOLLOW bob"), Some(ChatCommand::Follow { to: "bob".into(), follows: false }));
        assert_eq!(
            parser.parse_line("dm bob hi you"),
            Some(ChatCommand::Direct { to: "bob".into(), text: "hi you".into() })
        );
        parser.parse_line("dm");
        let given = GivenName { name: "Bob the Builder", may_have_left: false };
        assert_eq!(parser.peer_name(" Bob the Builder "), Some(given));
        parser.parse_line("Bob the Builder");
        assert_eq!((parser.question(), parser.peer_name("dm bob")), (Some("Message: "), None), "a text is no name");
    }

    #[test]
    fn the_question_for_a_picture_takes_y_n_or_a_file_and_can_be_asked_again() {
        let profile = |avatar: &str| {
            Some(ChatCommand::Profile { name: "Al".into(), status: "here".into(), avatar: avatar.into() })
        };
        for (answers, avatar) in
            [(&["n"][..], ""), (&["No"], ""), (&[""], ""), (&["a.png"], "a.png"), (&["Y", "a.png"], "a.png")]
        {
            let mut parser = CommandParser::default();
            for line in ["profile", "Al", "here"] {
                assert_eq!(parser.parse_line(line), None);
            }
            assert_eq!(parser.question(), Some("Picture (y, n or a file): "));
            let commands: Vec<_> = answers.iter().map(|line| parser.parse_line(line)).collect();
            assert_eq!((commands.last().cloned().flatten(), parser.question()), (profile(avatar), None), "{answers:?}");
            // The file cannot be used.
            assert!(parser.ask_for_picture_again());
            assert_eq!(parser.question(), Some("Picture (y, n or a file): "));
            assert_eq!((parser.parse_line("y"), parser.question()), (None, Some("Picture file: ")));
            assert_eq!(parser.parse_line("b.png"), profile("b.png"), "the other answers are kept");
            parser.parse_line("hello");
            assert!(!parser.ask_for_picture_again());
        }
        let mut parser = CommandParser::default();
        assert_eq!(parser.parse_line("PROFILE Al | here | a.png"), profile("a.png"));
        assert!(parser.ask_for_picture_again());
        assert_eq!(parser.parse_line("b.png"), profile("b.png"), "a profile on one line keeps the rest, too");
    }

    #[test]
    fn every_listed_command_word_is_parsed_as_a_command() {
        for (verb, has_arguments) in COMMANDS.iter().map(|(verb, has_arguments)| (verb.to_lowercase(), *has_arguments))
        {
            let mut parser = CommandParser::default();
            let command = parser.parse_line(&verb);
            assert_eq!((command.is_none(), parser.question().is_some()), (has_arguments, has_arguments), "{verb}");
            assert!(!matches!(command, Some(ChatCommand::Post(_))), "{verb}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(lines in prop::collection::vec("(POST|dm|PROFILE|LIST|Follow|y)?[ |a]{0,5}\\PC{0,9}", 0..9)) {
            let mut parser = CommandParser::default();
            for line in lines {
                let _ = (parser.peer_name(&line), parser.parse_line(&line), parser.question());
                let _ = line.len().is_multiple_of(2) && parser.ask_for_picture_again();
            }
        }
    }
}
