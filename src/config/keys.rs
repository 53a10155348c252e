//! Name of one setting in each layer: the file, the environment, the command line.

/// One setting's names.
#[derive(Debug)]
pub(super) struct Key {
    /// In the configuration file.
    pub(super) name: &'static str,
    /// In the environment.
    pub(super) variable: &'static str,
    /// On the command line; `None` where there is no flag.
    pub(super) flag: Option<&'static str>,
    /// Whether the value must never be repeated, not even in an error.
    pub(super) is_secret: bool,
    /// Whether it takes several values.
    pub(super) is_list: bool,
}

impl Key {
    pub(super) const fn new(name: &'static str, variable: &'static str) -> Self {
        Self { name, variable, flag: None, is_secret: false, is_list: false }
    }

    pub(super) const fn or_flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    pub(super) const fn list(mut self) -> Self {
        self.is_list = true;
        self
    }
}

/// The key that someone who wrote `unknown` most likely meant.
pub(super) fn nearest(all: &[&Key], unknown: &str) -> Option<&'static str> {
    let unknown = unknown.to_lowercase().replace('-', "_");
    let close_enough = unknown.len().max(4) / 3;
    all.iter()
        .map(|key| (edits(&unknown, key.name), key.name))
        .filter(|(edits, name)| *edits <= close_enough || name.starts_with(&unknown))
        .min()
        .map(|(_, name)| name)
}

/// How many characters must be put in, left out or changed to turn `from` into `to` (Levenshtein's distance).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.chars().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::node::keys::ALL;

    #[test]
    fn a_misspelt_key_is_recognised_and_nonsense_is_not() {
        let nearest = |unknown| nearest(&ALL, unknown);
        assert_eq!(nearest("heartbeat_interval"), Some("heartbeat_interval_ms"));
        assert_eq!(nearest("this-node"), Some("this_node"));
        assert_eq!(nearest("peer"), Some("peers"));
        assert_eq!(nearest("API_PORT"), Some("api_port"));
        assert_eq!(nearest("colour"), None);
        assert_eq!(nearest("xyzzyxyzzyxyzzy"), None);
    }

    #[test]
    fn edits_are_counted_as_levenshtein_counts_them() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", "abc"), 0);
    }

    #[test]
    fn no_two_settings_share_a_name() {
        for keys in [&ALL[..], &crate::config::chat::keys::ALL[..]] {
            for name in [|key: &Key| key.name, |key: &Key| key.variable] {
                let mut sorted: Vec<_> = keys.iter().map(|key| name(key)).collect();
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!(sorted.len(), keys.len());
            }
        }
    }
}
