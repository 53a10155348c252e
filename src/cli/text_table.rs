//! Text tables with aligned columns. Colour codes do not count as width, and wide characters count
//! twice. Pure.

use unicode_width::UnicodeWidthStr;

use rollcall_core::escape::escape_controls;

/// Colour of a text, with its meaning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Colour {
    /// Good state.
    Green,
    /// Bad state.
    Red,
    /// Change.
    Yellow,
    /// Heading.
    Bold,
}

impl Colour {
    /// The text between the terminal's codes for this colour.
    pub(super) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
            Self::Bold => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Table with a row of headings.
pub(super) struct TextTable {
    rows: Vec<Vec<(String, Option<Colour>)>>,
}

impl TextTable {
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| ((*heading).to_owned(), Some(Colour::Bold))).collect()] }
    }

    /// Adds a row; control characters in the texts are escaped.
    pub(super) fn row<'t>(&mut self, cells: impl IntoIterator<Item = (&'t str, Option<Colour>)>) {
        self.rows.push(cells.into_iter().map(|(text, colour)| (escape_controls(text), colour)).collect());
    }

    /// The lines of the table, each with a line feed.
    pub(super) fn render(&self, is_coloured: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut lines = String::new();
        for row in &self.rows {
            for (column, (text, colour)) in row.iter().enumerate() {
                match colour {
                    Some(colour) if is_coloured => lines.push_str(&colour.paint(text)),
                    Some(_) | None => lines.push_str(text),
                }
                if column + 1 < row.len() {
                    lines.push_str(&" ".repeat(widths[column] - text.width() + 2));
                }
            }
            lines.push('\n');
        }
        lines
    }
}

/// A count and its noun: `1 user`, `2 users`.
pub(super) fn pluralize(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_with_and_without_colours() {
        let mut table = TextTable::new(&["NAME", "ROLE"]);
        table.row([("a", None), ("leader", Some(Colour::Green))]);
        table.row([("böb\u{1b}", None), ("x", None)]);
        table.row([("王小明", None), ("y", None)]);
        assert_eq!(table.render(false), "NAME       ROLE\na          leader\nböb\\u{1b}  x\n王小明     y\n");
        assert!(table.render(true).contains("a          \u{1b}[32mleader\u{1b}[0m\n"));
    }

    #[test]
    fn only_a_count_of_one_has_a_singular_noun() {
        assert_eq!([0, 1, 2].map(|n| pluralize(n, "user")), ["0 users", "1 user", "2 users"]);
    }
}
