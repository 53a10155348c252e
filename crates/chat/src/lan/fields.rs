//! Codec for the `KEY:VALUE` lines of LAN datagrams. Pure.

use std::fmt::Write;

use crate::text::replace_line_breaks;

/// Line format of a peer. Answers to a peer are written in the format that the peer uses.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Dialect {
    /// `KEY:VALUE`, without a space after the colon.
    #[default]
    Compact,
    /// `KEY: VALUE`, the draft dialect: the format of the draft of LSNP, the protocol of the LAN.
    Spaced,
}

/// Fields of a datagram, in order.
///
/// Of a repeated key, the first value counts. Some programs do not escape line breaks in a text, so
/// a text can contain forged fields. They cannot replace the field of the sender, which is before
/// the text.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    /// Parses lines up to the first empty one. Lines without a colon are ignored.
    pub(super) fn read(text: &'a str) -> (Self, Dialect) {
        let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let lines = lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
        let pairs: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
        // Only the first line determines the dialect, because in the compact dialect, a later value
        // can begin with a space.
        let is_spaced = pairs.first().is_some_and(|(_, value)| value.starts_with(' '));
        let fields = pairs.into_iter().map(|(key, value)| (key.trim(), value.trim())).collect();
        (Self(fields), if is_spaced { Dialect::Spaced } else { Dialect::Compact })
    }

    /// The first value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }
}

/// Writer for the lines of a datagram.
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

    /// Appends a field. A line break in the value becomes a space, because it would begin a forged
    /// field.
    pub(super) fn add(&mut self, key: &str, value: impl std::fmt::Display) -> &mut Self {
        let value = replace_line_breaks(&value.to_string());
        let _ = writeln!(self.text, "{key}{}{value}", self.colon);
        self
    }

    /// Appends the empty line that ends the datagram.
    pub(super) fn finish(mut self) -> String {
        self.text.push('\n');
        self.text
    }
}
