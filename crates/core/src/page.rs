//! Page request for a list that is sorted by username.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Bound;

use super::Username;

/// One page of a list: names after `after` that start with `prefix`, at most `limit` of them.
///
/// The default page is the whole list. A client reads the next page with `after` set to the last
/// name of the previous page. It then sees each row exactly once if the row stays in the list
/// meanwhile.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// Maximum number of rows; `None` for no limit.
    pub limit: Option<NonZeroUsize>,
    /// Return only names that sort after this text. Empty means from the start. A user with this
    /// name need not exist.
    pub after: String,
    /// Return only names that start with this text. Empty matches every name.
    pub prefix: String,
}

impl Page {
    /// Rows that match `after` and `prefix`, in order. The limit is not applied.
    ///
    /// The caller filters them and then takes [`Self::max_rows`] of them.
    pub fn scan<'m, V>(&'m self, rows: &'m BTreeMap<Username, V>) -> impl Iterator<Item = (&'m Username, &'m V)> {
        // Names with a common prefix are adjacent in byte order, so the page is one range.
        let start = if self.after < self.prefix {
            Bound::Included(self.prefix.as_str())
        } else {
            Bound::Excluded(self.after.as_str())
        };
        rows.range::<str, _>((start, Bound::Unbounded)).take_while(|(name, _)| name.as_str().starts_with(&self.prefix))
    }

    /// The rest of this page after the row `last`, if `taken` rows were returned before.
    ///
    /// `None` if the limit is reached.
    #[must_use]
    pub fn rest_after(&self, last: &Username, taken: usize) -> Option<Self> {
        let limit = match self.limit {
            Some(limit) => Some(NonZeroUsize::new(limit.get().saturating_sub(taken))?),
            None => None,
        };
        Some(Self { limit, after: last.to_string(), prefix: self.prefix.clone() })
    }

    /// The limit as a number for `Iterator::take`.
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
    fn a_page_starts_after_its_after_text_and_contains_only_its_prefix() {
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
        fn reading_page_by_page_returns_every_name_exactly_once(
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
