//! `KEY:VALUE` lines, read and written. Pure.

use std::fmt::Write;

use crate::text::replace_line_breaks;

/// How a peer writes its lines, and wants to read them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Dialect {
    /// `KEY:VALUE`; a space would belong to the value.
    #[default]
    Compact,
    /// `KEY: VALUE`, as in the LSNP draft.
    Spaced,
}

/// The fields of a datagram, in order.
///
/// Of a repeated key the first counts: a text with a line break in it, written by a program that does not care, stands
/// behind the sender's name and so cannot replace it.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    /// Reads lines up to the first empty one; those without a colon are ignored.
    pub(super) fn read(text: &'a str) -> (Self, Dialect) {
        let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let lines = lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
        let pairs: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
        // The first line decides: a compact value might begin with a space.
        let is_spaced = pairs.first().is_some_and(|(_, value)| value.starts_with(' '));
        let fields = pairs.into_iter().map(|(key, value)| (key.trim(), value.trim())).collect();
        (Self(fields), if is_spaced { Dialect::Spaced } else { Dialect::Compact })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }
}

/// The lines of a datagram that is being written.
pub(super) struct FieldWriter {
    text: String,
    colon: &'static str,
}

impl FieldWriter {
    pub(super) fn new(dialect: Dialect) -> Self {
        let colon = match dialect {
            Dialect::Compact => ":",
            Dialect::Spaced => ": ",
        };
        Self { text: String::new(), colon }
    }

    /// Adds a field. A line break in the value becomes a space, or it would forge the next field.
    pub(super) fn add(&mut self, key: &str, value: impl std::fmt::Display) -> &mut Self {
        let value = replace_line_breaks(&value.to_string());
        let _ = writeln!(self.text, "{key}{}{value}", self.colon);
        self
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push('\n');
        self.text
    }
}
