//! Terminal emulator with the features that the line editor needs. Each character is one column
//! wide.

/// Screen content.
pub(crate) struct Screen {
    columns: usize,
    rows: usize,
    /// All lines, including those that scrolled off the screen.
    lines: Vec<Vec<char>>,
    /// Index of the top line of the screen.
    top: usize,
    row: usize,
    column: usize,
}

impl Screen {
    /// Interprets the bytes on a terminal of this size.
    ///
    /// Panics at an unknown control sequence, so that a test fails if the peer writes one.
    pub(crate) fn showing(columns: usize, rows: usize, bytes: &[u8]) -> Self {
        let mut screen = Self { columns, rows, lines: vec![Vec::new(); rows], top: 0, row: 0, column: 0 };
        // The last character may be incomplete.
        let text = String::from_utf8_lossy(bytes);
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\r' => screen.column = 0,
                '\n' => screen.line_feed(),
                '\u{1b}' => {
                    let is_sequence = rest.next().is_none_or(|next| next == '[');
                    assert!(is_sequence, "an escape that is no control sequence: {:?}", rest.as_str());
                    let mut codes = String::new();
                    match rest.find(|c| {
                        let is_end = ('\u{40}'..='\u{7e}').contains(c);
                        codes.extend((!is_end).then_some(*c));
                        is_end
                    }) {
                        Some(end) => screen.execute(&codes, end),
                        // The sequence is incomplete.
                        None => break,
                    }
                }
                c => {
                    assert!(!c.is_control(), "a control character reached the terminal: {c:?}");
                    screen.put(c);
                }
            }
        }
        screen
    }

    fn execute(&mut self, codes: &str, end: char) {
        let count = codes.parse::<usize>().unwrap_or(1).max(1);
        match (codes, end) {
            (_, 'A') => self.row = self.row.saturating_sub(count),
            (_, 'B') => self.row = (self.row + count).min(self.rows - 1),
            (_, 'C') => self.column = (self.column + count).min(self.columns - 1),
            (_, 'D') => self.column = self.column.min(self.columns - 1).saturating_sub(count),
            ("" | "0", 'K') => {
                let column = self.column;
                self.line().truncate(column);
            }
            ("" | "0", 'J') => {
                let (at, column) = (self.top + self.row, self.column);
                self.lines.truncate(at + 1);
                self.lines[at].truncate(column);
                self.lines.resize(self.top + self.rows, Vec::new());
            }
            // Bracketed paste, synchronized updates, weights and colours.
            ("?2004" | "?2026", 'h' | 'l') | (_, 'm') => {}
            _ => panic!("an unexpected control sequence: {codes:?} {end:?}"),
        }
    }

    fn put(&mut self, c: char) {
        if self.column == self.columns {
            self.column = 0;
            self.line_feed();
        }
        let column = self.column;
        let line = self.line();
        if line.len() <= column {
            line.resize(column + 1, ' ');
        }
        line[column] = c;
        self.column += 1;
    }

    fn line_feed(&mut self) {
        if self.row + 1 == self.rows {
            self.top += 1;
            self.lines.push(Vec::new());
        } else {
            self.row += 1;
        }
    }

    fn line(&mut self) -> &mut Vec<char> {
        let at = self.top + self.row;
        &mut self.lines[at]
    }

    /// Non-empty lines without trailing spaces.
    pub(crate) fn lines(&self) -> Vec<String> {
        let texts = self.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
        texts.filter(|line| !line.is_empty()).collect()
    }

    /// Whether a line contains the text.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.contains(text))
    }

    /// The line of the cursor, split at the cursor.
    pub(crate) fn typed(&self) -> (String, String) {
        let line = &self.lines[self.top + self.row];
        let at = self.column.min(line.len());
        (line[..at].iter().collect(), line[at..].iter().collect())
    }
}
