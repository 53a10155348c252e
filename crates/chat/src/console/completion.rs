//! Tab completion: commands at the beginning of a line; names of peers after `DM`, `FOLLOW`
//! and `UNFOLLOW`, and at the prompts for a name.

use std::collections::BTreeMap;

use super::command::{COMMANDS, asks_for_name, takes_name};
use crate::text::is_hidden;

/// Largest number of candidates of one completion.
const MAX_CANDIDATES: usize = 64;
/// Longest name that can be a candidate, in characters.
const MAX_NAME_CHARS: usize = 128;

/// Candidates that can replace the end of the typed text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Completions {
    /// Byte offset of the replaced part.
    pub from: usize,
    /// Replacements, sorted.
    pub texts: Vec<String>,
}

/// Whether [`completions`] needs the names of the peers for this text.
#[must_use]
pub fn needs_names(typed: &str, question: Option<&str>) -> bool {
    match question {
        Some(question) => asks_for_name(question),
        None => name_begins_at(typed).is_some(),
    }
}

/// Returns the candidates for `typed`, the line up to the cursor. The line is an answer to
/// `question`, or a command if there is no question. `uids` are the ids of the known peers.
#[must_use]
pub fn completions(typed: &str, question: Option<&str>, uids: &[String]) -> Completions {
    if let Some(question) = question {
        let texts = if asks_for_name(question) { matching_names(typed.trim_start(), uids) } else { Vec::new() };
        return Completions { from: typed.len() - typed.trim_start().len(), texts };
    }
    if let Some(from) = name_begins_at(typed) {
        let texts = matching_names(&typed[from..], uids).into_iter().map(|name| name + " ").collect();
        return Completions { from, texts };
    }
    let verbs = COMMANDS.iter().filter(|(verb, _)| verb.starts_with(typed));
    // After a command with arguments, the space before the first argument is completed, too.
    let mut texts: Vec<String> = verbs
        .map(|(verb, has_arguments)| if *has_arguments { format!("{verb} ") } else { (*verb).to_owned() })
        .collect();
    texts.sort_unstable();
    Completions { from: 0, texts }
}

/// Byte offset of the name, if the cursor is in the name of a command that takes one.
fn name_begins_at(typed: &str) -> Option<usize> {
    let (word, rest) = typed.split_once(char::is_whitespace)?;
    let name = rest.trim_start();
    (takes_name(word) && !name.contains(char::is_whitespace)).then(|| typed.len() - name.len())
}

/// Names that begin with `prefix`. A name is the part of the id before the `@` if only one peer has
/// it, otherwise the whole id.
fn matching_names(prefix: &str, uids: &[String]) -> Vec<String> {
    // Peers choose their names. A name that cannot be typed or displayed is not a candidate.
    let is_plain = |uid: &&String| {
        !uid.is_empty()
            && uid.chars().take(MAX_NAME_CHARS + 1).count() <= MAX_NAME_CHARS
            && !uid.chars().any(|c| c.is_whitespace() || is_hidden(c))
    };
    let plain: Vec<&String> = uids.iter().filter(is_plain).collect();
    let mut name_counts = BTreeMap::<&str, usize>::new();
    for uid in &plain {
        *name_counts.entry(name_part(uid)).or_default() += 1;
    }
    let shown = |uid: &String| {
        let name = name_part(uid);
        let is_unambiguous = name_counts[name] == 1 && !name.is_empty() && name.starts_with(prefix);
        if is_unambiguous { name.to_owned() } else { uid.clone() }
    };
    let mut matching_names: Vec<String> =
        plain.iter().map(|uid| shown(uid)).filter(|name| name.starts_with(prefix)).collect();
    matching_names.sort_unstable();
    matching_names.dedup();
    matching_names.truncate(MAX_CANDIDATES);
    matching_names
}

fn name_part(uid: &str) -> &str {
    uid.rsplit_once('@').map_or(uid, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates_for(typed: &str, question: Option<&str>, uids: &[&str]) -> (usize, Vec<String>) {
        let uids: Vec<String> = uids.iter().map(|uid| (*uid).to_owned()).collect();
        let Completions { from, texts } = completions(typed, question, &uids);
        (from, texts)
    }

    #[test]
    fn a_command_is_completed_at_the_beginning_of_a_line() {
        assert_eq!(candidates_for("P", None, &[]), (0, vec!["POST ".into(), "PROFILE ".into()]));
        assert_eq!(candidates_for("LI", None, &[]), (0, vec!["LIST".into()]));
        assert_eq!(candidates_for("", None, &[]).1.len(), 10);
        // The text of a message is not completed.
        assert!(candidates_for("p", None, &[]).1.is_empty() && candidates_for("hello P", None, &[]).1.is_empty());
    }

    #[test]
    fn a_name_is_completed_after_dm_and_at_the_prompt_for_a_name() {
        let uids = ["alice@10.0.0.1", "albert@10.0.0.2", "bob@10.0.0.3", "bob@0011aabb"];
        assert_eq!(candidates_for("DM al", None, &uids), (3, vec!["albert ".into(), "alice ".into()]));
        assert_eq!(candidates_for("DM  alice", None, &uids), (4, vec!["alice ".into()]));
        assert_eq!(candidates_for("DM alice@", None, &uids), (3, vec!["alice@10.0.0.1 ".into()]));
        assert_eq!(
            candidates_for("DM b", None, &uids).1,
            ["bob@0011aabb ", "bob@10.0.0.3 "],
            "two peers have the name bob"
        );
        assert_eq!(candidates_for("al", Some("To: "), &uids), (0, vec!["albert".into(), "alice".into()]));
        assert!(
            candidates_for("DM alice al", None, &uids).1.is_empty()
                && candidates_for("al", Some("Message: "), &uids).1.is_empty()
        );
        assert_eq!(candidates_for("follow al", None, &uids), (7, vec!["albert ".into(), "alice ".into()]));
        assert_eq!(candidates_for("bo", Some("Peer: "), &uids).1.len(), 2);
        assert!(needs_names("DM a", None) && needs_names("", Some("To: ")));
        assert!(!needs_names("DM", None) && !needs_names("DM a b", None) && !needs_names("", Some("Message: ")));
    }

    #[test]
    fn a_name_with_terminal_escapes_or_white_space_is_not_a_candidate() {
        let huge = format!("{}@10.0.0.1", "x".repeat(5000));
        let uids = ["a\u{1b}[2J@10.0.0.1", "a\u{202e}b@10.0.0.1", "a b@10.0.0.1", &huge, "", "@10.0.0.1"];
        assert_eq!(candidates_for("DM ", None, &uids), (3, vec!["@10.0.0.1 ".into()]));
    }

    proptest! {
        #[test]
        fn candidates_are_printable_and_bounded_for_any_text_and_any_peers(
            typed in "((DM|unfollow) ?)?\\PC{0,9}", asked in any::<bool>(), uids in prop::collection::vec(any::<String>(), 0..99)
        ) {
            let Completions { from, texts } = completions(&typed, asked.then_some("To: "), &uids);
            prop_assert!(typed.is_char_boundary(from) && texts.len() <= MAX_CANDIDATES);
            prop_assert!(texts.iter().all(|text| text.starts_with(&typed[from..]) && !text.chars().any(is_hidden)));
        }
    }
}
