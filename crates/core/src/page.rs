//! Which part of a list that is sorted by username is asked for.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Bound;

use super::Username;

/// A part of a list: the names after `after` that start with `prefix`, at most `limit` of them. The default is all.
///
/// Reading on with `after` set to the last name of the page before meets every row exactly once that stays in the list
/// the whole time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// The most rows that are wanted.
    pub limit: Option<NonZeroUsize>,
    /// Only names that sort after this text; empty for no such bound. It need not be a name that exists.
    pub after: String,
    /// Only names that start with this text; empty for all.
    pub prefix: String,
}

impl Page {
    /// The rows on this page and behind it; the caller filters them and then takes [`Self::limit`] of them.
    pub fn scan<'m, V>(&'m self, rows: &'m BTreeMap<Username, V>) -> impl Iterator<Item = (&'m Username, &'m V)> {
        // Names with one prefix stand side by side in byte order, so the page is one range.
        let start = if self.after < self.prefix {
            Bound::Included(self.prefix.as_str())
        } else {
            Bound::Excluded(self.after.as_str())
        };
        rows.range::<str, _>((start, Bound::Unbounded)).take_while(|(name, _)| name.as_str().starts_with(&self.prefix))
    }

    /// What is left of this page behind `last`, `taken` rows of which were given already; `None` if nothing is.
    #[must_use]
    pub fn rest_after(&self, last: &Username, taken: usize) -> Option<Self> {
        let limit = match self.limit {
            Some(limit) => Some(NonZeroUsize::new(limit.get().saturating_sub(taken))?),
            None => None,
        };
        Some(Self { limit, after: last.to_string(), prefix: self.prefix.clone() })
    }

    /// The most rows, as a number to `take`.
    #[must_use]
    pub fn max_rows(&self) -> usize {
        self.limit.map_or(usize::MAX, NonZeroUsize::get)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(rows: &BTreeMap<Username, u8>, page: &Page) -> Vec<String> {
        page.scan(rows).take(page.max_rows()).map(|(name, _)| name.to_string()).collect()
    }

    fn rows(names: &[&str]) -> BTreeMap<Username, u8> {
        names.iter().map(|name| (Username::parse(name).unwrap(), 0)).collect()
    }

    #[test]
    fn a_page_begins_strictly_after_its_mark_and_stays_inside_its_prefix() {
        let rows = rows(&["al", "alice", "alina", "bob"]);
        let page = |after: &str, prefix: &str| Page { limit: None, after: after.into(), prefix: prefix.into() };
        assert_eq!(names(&rows, &page("", "")), ["al", "alice", "alina", "bob"]);
        assert_eq!(names(&rows, &page("", "al")), ["al", "alice", "alina"]);
        assert_eq!(names(&rows, &page("al", "al")), ["alice", "alina"]);
        assert_eq!(names(&rows, &page("alice", "")), ["alina", "bob"]);
        assert_eq!(names(&rows, &page("b", "al")), Vec::<String>::new());
        assert_eq!(names(&rows, &page("a", "b")), ["bob"]);
    }

    proptest! {
        #[test]
        fn reading_page_by_page_meets_every_name_exactly_once(
            names_in in proptest::collection::btree_set("[a-c]{1,4}", 0..30), limit in 1_usize..7, prefix in "[a-c]{0,2}",
        ) {
            let rows: BTreeMap<Username, u8> =
                names_in.iter().map(|name| (Username::parse(name).unwrap(), 0)).collect();
            let mut met = Vec::new();
            let mut page = Page { limit: NonZeroUsize::new(limit), after: String::new(), prefix: prefix.clone() };
            loop {
                let part = names(&rows, &page);
                let Some(last) = part.last() else { break };
                page.after.clone_from(last);
                met.extend(part);
            }
            let wanted: Vec<String> = names_in.into_iter().filter(|name| name.starts_with(&prefix)).collect();
            prop_assert_eq!(met, wanted);
        }
    }
}
