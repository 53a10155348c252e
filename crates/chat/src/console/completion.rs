//! What Tab offers: a command at the beginning of a line, a name where one is asked for.

use std::collections::BTreeMap;

use super::command::{COMMANDS, NAME_QUESTION};
use crate::text::is_hidden;

/// The most that is offered at once.
const MAX_CANDIDATES: usize = 64;
/// The longest name that is offered.
const MAX_NAME_CHARS: usize = 128;

/// What may stand in the place of the end of what was typed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Completions {
    /// The byte at which the replaced part begins.
    pub from: usize,
    /// What may stand there instead; sorted.
    pub texts: Vec<String>,
}

/// Whether names are needed to complete what was typed.
#[must_use]
pub fn needs_names(typed: &str, question: Option<&str>) -> bool {
    match question {
        Some(question) => question == NAME_QUESTION,
        None => name_begins_at(typed).is_some(),
    }
}

/// What can follow `typed`, the line up to the cursor, as an answer to `question` or as a command; `uids` are those who are
/// there.
#[must_use]
pub fn completions(typed: &str, question: Option<&str>, uids: &[String]) -> Completions {
    if let Some(question) = question {
        let texts = if question == NAME_QUESTION { matching_names(typed.trim_start(), uids) } else { Vec::new() };
        return Completions { from: typed.len() - typed.trim_start().len(), texts };
    }
    if let Some(from) = name_begins_at(typed) {
        let texts = matching_names(&typed[from..], uids).into_iter().map(|name| name + " ").collect();
        return Completions { from, texts };
    }
    let verbs = COMMANDS.iter().filter(|(verb, _)| verb.starts_with(typed));
    // What needs more gets the space before it.
    let mut texts: Vec<String> =
        verbs.map(|(verb, wants_more)| if *wants_more { format!("{verb} ") } else { (*verb).to_owned() }).collect();
    texts.sort_unstable();
    Completions { from: 0, texts }
}

/// Where the name begins, if the line is a direct message and its name is being typed.
fn name_begins_at(typed: &str) -> Option<usize> {
    let rest = typed.strip_prefix("DM")?;
    let name = rest.trim_start();
    (name.len() < rest.len() && !name.contains(char::is_whitespace)).then(|| typed.len() - name.len())
}

/// The names that begin so: the part before the `@` of those who are the only ones called so, the whole of the others.
fn matching_names(begun: &str, uids: &[String]) -> Vec<String> {
    // Whoever announces itself chooses its name; what cannot be typed or shown is not offered.
    let is_plain = |uid: &&String| {
        !uid.is_empty()
            && uid.chars().take(MAX_NAME_CHARS + 1).count() <= MAX_NAME_CHARS
            && !uid.chars().any(|c| c.is_whitespace() || is_hidden(c))
    };
    let plain: Vec<&String> = uids.iter().filter(is_plain).collect();
    let mut called = BTreeMap::<&str, usize>::new();
    for uid in &plain {
        *called.entry(short(uid)).or_default() += 1;
    }
    let shown = |uid: &String| {
        let name = short(uid);
        let is_enough = called[name] == 1 && !name.is_empty() && name.starts_with(begun);
        if is_enough { name.to_owned() } else { uid.clone() }
    };
    let mut matching_names: Vec<String> =
        plain.iter().map(|uid| shown(uid)).filter(|name| name.starts_with(begun)).collect();
    matching_names.sort_unstable();
    matching_names.dedup();
    matching_names.truncate(MAX_CANDIDATES);
    matching_names
}

fn short(uid: &str) -> &str {
    uid.rsplit_once('@').map_or(uid, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offered(typed: &str, question: Option<&str>, uids: &[&str]) -> (usize, Vec<String>) {
        let uids: Vec<String> = uids.iter().map(|uid| (*uid).to_owned()).collect();
        let Completions { from, texts } = completions(typed, question, &uids);
        (from, texts)
    }

    #[test]
    fn a_command_is_completed_at_the_beginning_of_a_line() {
        assert_eq!(offered("P", None, &[]), (0, vec!["POST ".into(), "PROFILE ".into()]));
        assert_eq!(offered("LI", None, &[]), (0, vec!["LIST".into()]));
        assert_eq!(offered("", None, &[]).1.len(), 8);
        // A sentence is no command.
        assert!(offered("p", None, &[]).1.is_empty() && offered("hello P", None, &[]).1.is_empty());
    }

    #[test]
    fn a_name_is_completed_after_dm_and_where_one_is_asked_for() {
        let uids = ["alice@10.0.0.1", "albert@10.0.0.2", "bob@10.0.0.3", "bob@0011aabb"];
        assert_eq!(offered("DM al", None, &uids), (3, vec!["albert ".into(), "alice ".into()]));
        assert_eq!(offered("DM  alice", None, &uids), (4, vec!["alice ".into()]));
        assert_eq!(offered("DM alice@", None, &uids), (3, vec!["alice@10.0.0.1 ".into()]));
        assert_eq!(offered("DM b", None, &uids).1, ["bob@0011aabb ", "bob@10.0.0.3 "], "two are called bob");
        assert_eq!(offered("al", Some("To: "), &uids), (0, vec!["albert".into(), "alice".into()]));
        assert!(
            offered("DM alice al", None, &uids).1.is_empty() && offered("al", Some("Message: "), &uids).1.is_empty()
        );
        assert!(needs_names("DM a", None) && needs_names("", Some("To: ")));
        assert!(!needs_names("DM", None) && !needs_names("DM a b", None) && !needs_names("", Some("Message: ")));
    }

    #[test]
    fn a_name_that_would_harm_the_terminal_is_not_offered() {
        let huge = format!("{}@10.0.0.1", "x".repeat(5000));
        let uids = ["a\u{1b}[2J@10.0.0.1", "a\u{202e}b@10.0.0.1", "a b@10.0.0.1", &huge, "", "@10.0.0.1"];
        assert_eq!(offered("DM ", None, &uids), (3, vec!["@10.0.0.1 ".into()]));
    }

    proptest! {
        #[test]
        fn whatever_is_typed_and_whoever_is_there_what_is_offered_is_plain_and_bounded(
            typed in "(DM ?)?\\PC{0,9}", asked in any::<bool>(), uids in prop::collection::vec(any::<String>(), 0..99)
        ) {
            let Completions { from, texts } = completions(&typed, asked.then_some(NAME_QUESTION), &uids);
            prop_assert!(typed.is_char_boundary(from) && texts.len() <= MAX_CANDIDATES);
            prop_assert!(texts.iter().all(|text| text.starts_with(&typed[from..]) && !text.chars().any(is_hidden)));
        }
    }
}
