//! One setting: its names in the file, the environment and the command line, and its default.

/// A setting of a node or of a chat peer.
#[derive(Debug)]
pub struct Setting {
    /// Key in the configuration file. It also names the setting in errors.
    pub key: &'static str,
    /// Environment variable.
    pub env: &'static str,
    /// Other names of the variable, which are read in this order if it is unset.
    pub env_aliases: &'static [&'static str],
    /// Flag of the node's command; `None` if there is none. Always `None` for a chat peer: its
    /// command declares the flags itself.
    pub flag: Option<&'static str>,
    /// Default, as the text that the environment variable would hold. `None` if the setting has no
    /// default, or one that depends on other settings.
    pub default: Option<&'static str>,
    /// Whether the value is a secret, which no error may repeat.
    pub is_secret: bool,
    /// Whether the setting is a list of values.
    pub is_list: bool,
}

impl Setting {
    pub(super) const fn new(key: &'static str, env: &'static str) -> Self {
        Self { key, env, env_aliases: &[], flag: None, default: None, is_secret: false, is_list: false }
    }

    pub(super) const fn with_env_aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.env_aliases = aliases;
        self
    }

    pub(super) const fn with_flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    pub(super) const fn with_default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
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

    /// The names of the variable, in the order of their priority.
    pub(super) fn env_names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.env).chain(self.env_aliases.iter().copied())
    }
}

/// The known key that is most similar to an unknown one. `None` if no key is similar.
pub(super) fn nearest_key(settings: &[&Setting], unknown: &str) -> Option<&'static str> {
    let unknown = unknown.to_lowercase().replace('-', "_");
    let max_distance = unknown.len().max(4) / 3;
    settings
        .iter()
        .map(|setting| (levenshtein(&unknown, setting.key), setting.key))
        .filter(|(distance, key)| *distance <= max_distance || key.starts_with(&unknown))
        .min()
        .map(|(_, key)| key)
}

/// Levenshtein distance: the number of insertions, deletions and replacements of a character that
/// turn `from` into `to`.
fn levenshtein(from: &str, to: &str) -> usize {
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
    use crate::config::chat::SETTINGS as CHAT_SETTINGS;
    use crate::config::node::settings::SETTINGS as NODE_SETTINGS;

    #[test]
    fn a_misspelt_key_is_recognised_and_nonsense_is_not() {
        let nearest_key = |unknown| nearest_key(&NODE_SETTINGS, unknown);
        assert_eq!(nearest_key("heartbeat_interval"), Some("heartbeat_interval_ms"));
        assert_eq!(nearest_key("this-node"), Some("this_node"));
        assert_eq!(nearest_key("peer"), Some("peers"));
        assert_eq!(nearest_key("API_PORT"), Some("api_port"));
        assert_eq!(nearest_key("colour"), None);
        assert_eq!(nearest_key("xyzzyxyzzyxyzzy"), None);
    }

    #[test]
    fn the_levenshtein_distance_counts_edits() {
        assert_eq!(levenshtein("kitten", "sitting"), 3);
        assert_eq!(levenshtein("", "abc"), 3);
        assert_eq!(levenshtein("abc", "abc"), 0);
    }

    #[test]
    fn no_two_settings_share_a_key_or_a_variable() {
        for settings in [&NODE_SETTINGS[..], &CHAT_SETTINGS[..]] {
            let keys: Vec<_> = settings.iter().map(|setting| setting.key).collect();
            let variables: Vec<_> = settings.iter().flat_map(|setting| setting.env_names()).collect();
            for names in [keys, variables] {
                let distinct: std::collections::BTreeSet<_> = names.iter().collect();
                assert_eq!(distinct.len(), names.len());
            }
        }
    }
}
