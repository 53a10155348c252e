//! Every limit of the HTTP API: bytes, counts, waits and timeouts.
//!
//! | limit | bounds | beyond it |
//! |---|---|---|
//! | **connections** | | |
//! | [`MAX_CONNECTIONS`] | connections served at once | the longest idle one is closed, else 503 `too_many_connections` |
//! | [`MIN_CONNECTIONS`] | the same, if the system allows few files | |
//! | [`RESERVED_FILES`] | files left for the rest of the process | |
//! | [`MIN_IDLE_TIME`] | idle time that protects from eviction | the connection may be closed |
//! | [`EVICTED_AT_ONCE`] | connections evicted together | |
//! | [`SLOT_WAIT`] | wait for the slot of an evicted connection | 503 `too_many_connections` |
//! | [`MAX_REFUSED_CONNECTIONS`] | connections beyond the first limit | closed without an answer |
//! | [`REFUSAL_TIME`] | life of a refused connection | closed |
//! | [`HEAD_TIME`] | a request's head; idle time between requests | closed |
//! | [`WRITE_STALL_TIME`] | an answer of which nothing is read | closed |
//! | [`SLOW_READ_BYTES`], [`SLOW_READ_TIME`] | pace at which a long answer is read | closed |
//! | [`MAX_ANSWER_TIME`] | a long answer as a whole | closed |
//! | [`DRAIN_TIME`] | requests that still run at shutdown | closed |
//! | [`ACCEPT_PAUSE`] | pause after a failed accept | |
//! | **requests** | | |
//! | [`MAX_HEAD_BYTES`], [`MAX_HEADERS`] | the head | 431 |
//! | [`MAX_JSON_BYTES`] | a JSON body | 413 `body_too_large` |
//! | [`REQUEST_TIME`] | a request until its answer begins | 408 `request_timeout` |
//! | [`DISCARD_BYTES`], [`DISCARD_TIME`] | what is read of a refused body | the answer goes out |
//! | [`HANDOVER_HOLD`] | hold of a request while leadership changes | 403 `not_leader` or 503 `no_leader` |
//! | [`MAX_REQUEST_ID_BYTES`] | a client's own request id | replaced by one of ours |
//! | [`MAX_QUOTED_CHARS`] | input repeated in an error message | cut |
//! | [`PREFLIGHT_AGE`] | how long a browser caches a preflight | asked again |
//! | **images** | | |
//! | [`MAX_IMAGE_BYTES`], [`MAX_FORM_BYTES`] | an uploaded image; the form around it | 413 `body_too_large` |
//! | [`UPLOAD_MEMORY_KIB`] | bodies of all uploads together | waits, then 503 `overloaded` |
//! | [`MAX_UPLOADS`] | images checked and stored at once | waits, then 503 `overloaded` |
//! | [`UPLOAD_WAIT`] | wait for memory or a place | 503 `overloaded` |
//! | [`UPLOAD_BODY_TIME`] | the arrival of an upload's body | 408 `request_timeout` |
//! | **lists** | | |
//! | [`LIST_PLACES`], [`LIST_PLACE_BYTES`] | bytes of all lists that are made or sent | waits, then 503 `overloaded` |
//! | [`MAX_PLACES_PER_LIST`] | places of one list | sent with that many |
//! | [`LIST_PLACE_WAIT`] | wait for a place | 503 `overloaded` |
//! | [`LIST_PIECE_BYTES`] | a piece in which a list is sent | sent in several |
//! | [`PAGES_AT_ONCE`], [`PAGE_WAIT`] | long pages made at once | waits, then 503 `overloaded` |
//! | [`INLINE_ROWS`] | rows of a page made without another thread | made on another thread |
//! | [`INLINE_CHANGES`] | changes encoded without another thread | encoded on another thread |
//! | [`REBUILD_BURST`], [`REBUILD_REFILL_MS`] | rebuilds of a list that keeps changing | the list of before is sent |
//! | [`MAX_LONG_POLLS`] | requests that wait for changes | 503 `overloaded` |
//! | [`MAX_POLL_WAIT`] | the wait of one of them | answered with no changes |
//! | [`WAKE_INTERVAL`] | time between two wake-ups of them | woken together |
//!
//! What one value may be (a username, a password) is a rule of its type in `rollcall_core`. The
//! registry has limits of its own, whatever asks it:
//!
//! | limit | where | beyond it |
//! |---|---|---|
//! | downloads of all pictures at once | `registry/images/stream.rs` | waits, then 503 `overloaded` |
//! | pictures decoded at once; memory of a decoder | `registry/images/check.rs` | waits; 400 `image_corrupt` |
//! | passwords hashed at once, and waiting for it | `registry/auth/password.rs` | 503 `overloaded` |
//! | wrong passwords of a name and of an address | `registry/auth/login_throttle.rs` | 429 `too_many_attempts` |
//! | wait for the list of users at a new leader | `registry/users/list.rs` | 503 `index_rebuilding` |
//! | wait for a majority; for who is online | `registry/replication_source.rs` | 503 `no_majority`; answered |
//! | single profiles read at once | `registry/users/profiles.rs` | waits |

use std::time::Duration;

/// Connections served at once, if the system gives a process that many files. Each takes some ten
/// KiB.
pub(super) const MAX_CONNECTIONS: u64 = 8192;

/// Connections served at once, however few files the system gives.
pub(super) const MIN_CONNECTIONS: u64 = 64;

/// Open files left for everything but served connections: the election, the bucket, snapshots,
/// refused connections.
pub(super) const RESERVED_FILES: u64 = 512;

/// Idle time below which a connection is not evicted. Its next request may be on its way.
pub(super) const MIN_IDLE_TIME: Duration = Duration::from_secs(1);

/// Connections evicted together. Finding the longest idle ones takes a look at all connections.
pub(super) const EVICTED_AT_ONCE: usize = 64;

/// Longest wait of a new connection for the slot of an evicted one.
pub(super) const SLOT_WAIT: Duration = Duration::from_millis(250);

/// Connections beyond [`MAX_CONNECTIONS`] that wait for a slot or for their refusal. Further ones
/// are closed without an answer.
pub(super) const MAX_REFUSED_CONNECTIONS: usize = 256;

/// Longest life of a connection that is refused.
pub(super) const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// Longest time for the head of a request, and longest idle time between two requests.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(30);

/// Longest time in which a client reads nothing of an answer. There is no such limit on reading
/// from the client: it would end a long download, during which nothing is to be read. A slow body
/// meets [`REQUEST_TIME`].
pub(super) const WRITE_STALL_TIME: Duration = Duration::from_secs(30);

/// Bytes of a long answer that must be read within [`SLOW_READ_TIME`]. Few enough for an answer
/// without images, every part of which waits for a slow bucket.
pub(super) const SLOW_READ_BYTES: usize = 64 * 1024;

/// Longest time for each [`SLOW_READ_BYTES`] of a long answer.
pub(super) const SLOW_READ_TIME: Duration = Duration::from_secs(30);

/// Longest time for a long answer as a whole. A client that needs longer asks for pages.
pub(super) const MAX_ANSWER_TIME: Duration = Duration::from_mins(2);

/// Longest time in which running requests may end at shutdown.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Pause after a failed accept. Without file descriptors left, another try at once only burns a
/// processor.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Largest head of a request, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Most header fields of a request.
pub(super) const MAX_HEADERS: usize = 100;

/// Largest JSON body, in bytes. Many times the largest valid registration.
pub(super) const MAX_JSON_BYTES: usize = 64 * 1024;

/// Longest time until the answer begins, the body of the request included and the wait of a long
/// poll excluded.
pub(super) const REQUEST_TIME: Duration = Duration::from_secs(30);

/// Bytes of a refused body that are read, so that the client gets the answer and no reset.
pub(super) const DISCARD_BYTES: usize = 1024 * 1024;

/// Longest time for which a refused body is read.
pub(super) const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Longest hold of a request while leadership changes hands, so that clients see a pause and no
/// error.
pub(super) const HANDOVER_HOLD: Duration = Duration::from_millis(500);

/// Longest request id taken over from a client, in bytes.
pub(super) const MAX_REQUEST_ID_BYTES: usize = 64;

/// Characters of a client's input that an error message repeats.
pub(super) const MAX_QUOTED_CHARS: usize = 80;

/// Time for which a browser may remember what a preflight allowed.
pub(super) const PREFLIGHT_AGE: Duration = Duration::from_mins(10);

/// Largest image, in bytes. Enough for 128 by 128 pixels in any accepted format.
pub(super) const MAX_IMAGE_BYTES: usize = 512 * 1024;

/// Bytes that a form may add to its image: boundaries, headers and other fields.
pub(super) const MAX_FORM_BYTES: usize = 16 * 1024;

/// Bodies of all uploads together, in KiB: some 120 of the largest. A body is at times held in two
/// buffers, each of up to twice its size.
pub(super) const UPLOAD_MEMORY_KIB: usize = 64 * 1024;

/// Images checked and stored at once.
pub(super) const MAX_UPLOADS: usize = 64;

/// Longest wait of an upload for memory or a place.
pub(super) const UPLOAD_WAIT: Duration = Duration::from_secs(2);

/// Longest time for the body of an upload to arrive.
pub(super) const UPLOAD_BODY_TIME: Duration = Duration::from_secs(10);

/// Places of all lists that are being made or sent: one for each list, and one more for each
/// further [`LIST_PLACE_BYTES`]. Slow readers of old lists keep no more than that in memory.
pub(super) const LIST_PLACES: usize = 256;

/// Bytes of a list that one place stands for.
pub(super) const LIST_PLACE_BYTES: usize = 1024 * 1024;

/// Most places of one list, so that even the longest lists are sent, a few at a time.
pub(super) const MAX_PLACES_PER_LIST: usize = 64;

/// Longest wait of a reader for a place.
pub(super) const LIST_PLACE_WAIT: Duration = Duration::from_millis(500);

/// Size of the pieces in which a list is sent, in bytes. A list of one piece fits the buffers of a
/// connection and leaves at once.
pub(super) const LIST_PIECE_BYTES: usize = 64 * 1024;

/// Long pages made at once. Each is made for one reader and may be as long as the whole list.
pub(super) const PAGES_AT_ONCE: usize = 4;

/// Longest wait of a long page for others.
pub(super) const PAGE_WAIT: Duration = Duration::from_millis(500);

/// Rows of a page that is made without another thread. That takes less time than to pass it on and
/// back.
pub(super) const INLINE_ROWS: usize = 200;

/// Changes of a list that are encoded without another thread.
pub(super) const INLINE_CHANGES: u64 = 1000;

/// Rebuilds of one list that may follow each other at once, so that a client that writes now and then
/// reads its own writes.
pub(super) const REBUILD_BURST: u64 = 10;

/// Time in which one more rebuild of a list is earned, in milliseconds: ten a second go on for long.
pub(super) const REBUILD_REFILL_MS: u64 = 100;

/// Requests that wait for changes at once. An eighth of [`MAX_CONNECTIONS`], so that there is room
/// for those that do not wait.
pub(super) const MAX_LONG_POLLS: usize = 1024;

/// Longest wait for changes, whatever the request asks for.
pub(super) const MAX_POLL_WAIT: Duration = Duration::from_mins(1);

/// Least time between two wake-ups of all waiting requests. The first change after a quiet time
/// wakes them at once.
pub(super) const WAKE_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use syn::visit::{self, Visit};

    /// Numbers that stand elsewhere: the file, the constant, and why it is no limit of the API.
    const EXCEPTIONS: &[(&str, &str, &str)] = &[
        ("json.rs", "MOST_ANSWERS_BYTES", "first size of a buffer"),
        ("routes/presence.rs", "ACCEPTED_BYTES", "first size of a buffer"),
        ("server/idle.rs", "BUSY", "a mark in the place of a time"),
        ("lists/etag.rs", "TAG_BYTES", "length of a format"),
    ];

    /// Constants that may be limits, and durations written as numbers.
    #[derive(Default)]
    struct Numbers {
        constants: Vec<String>,
        durations: Vec<String>,
    }

    impl Numbers {
        fn of(path: &Path) -> Self {
            let text = fs::read_to_string(path).expect("readable");
            let mut numbers = Self::default();
            numbers.visit_file(&syn::parse_file(&text).expect("a source"));
            numbers
        }

        fn add(&mut self, name: &syn::Ident, kind: &syn::Type) {
            let syn::Type::Path(path) = kind else { return };
            let kind = path.path.segments.last().expect("a type has a name").ident.to_string();
            if ["usize", "u8", "u16", "u32", "u64", "u128", "Duration"].contains(&kind.as_str()) {
                self.constants.push(name.to_string());
            }
        }
    }

    impl<'ast> Visit<'ast> for Numbers {
        fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
            if item.ident != "tests" {
                visit::visit_item_mod(self, item);
            }
        }

        fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
            self.add(&item.ident, &item.ty);
            visit::visit_item_const(self, item);
        }

        fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
            self.add(&item.ident, &item.ty);
            visit::visit_impl_item_const(self, item);
        }

        fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
            self.add(&item.ident, &item.ty);
            visit::visit_item_static(self, item);
        }

        fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
            if let syn::Expr::Path(function) = &*call.func
                && let [.., kind, function] = &function.path.segments.iter().collect::<Vec<_>>()[..]
                && kind.ident == "Duration"
                && let Some(syn::Expr::Lit(_)) = call.args.first()
            {
                self.durations.push(format!("Duration::{}", function.ident));
            }
            visit::visit_expr_call(self, call);
        }
    }

    /// The sources of the API but for tests and this file, by their path.
    fn sources(folder: &Path, below: &str, found: &mut Vec<(String, Numbers)>) {
        for entry in fs::read_dir(folder).expect("the sources are here") {
            let entry = entry.expect("readable");
            let name = entry.file_name().into_string().expect("ASCII");
            let path = format!("{below}{name}");
            if entry.path().is_dir() {
                sources(&entry.path(), &format!("{path}/"), found);
            } else if !["tests.rs", "testing.rs", "limits.rs"].contains(&name.as_str()) {
                found.push((path, Numbers::of(&entry.path())));
            }
        }
    }

    #[test]
    fn every_limit_of_the_api_stands_in_this_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
        let mut files = Vec::new();
        sources(&folder, "", &mut files);
        assert!(files.len() > 20, "the sources were not found");
        let mut excused = BTreeSet::<&(&str, &str, &str)>::new();
        for (path, numbers) in &files {
            for constant in &numbers.constants {
                let exception =
                    EXCEPTIONS.iter().find(|(file, name, _)| (file, name) == (&path.as_str(), &constant.as_str()));
                assert!(exception.is_some(), "{path}: move {constant} to limits.rs");
                excused.extend(exception);
            }
            assert!(numbers.durations.is_empty(), "{path}: give {:?} a name in limits.rs", numbers.durations);
        }
        assert_eq!(excused.len(), EXCEPTIONS.len(), "an exception is no more: {EXCEPTIONS:?}");
    }

    #[test]
    fn the_table_above_names_each_limit_once() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/limits.rs");
        let text = fs::read_to_string(&path).expect("readable");
        let rows = text.lines().filter(|line| line.starts_with("//! |"));
        let mut named: Vec<&str> =
            rows.flat_map(|row| row.split("[`").skip(1).filter_map(|rest| rest.split('`').next())).collect();
        let mut defined = Numbers::of(&path).constants;
        named.sort_unstable();
        defined.sort_unstable();
        assert_eq!(named, defined);
    }
}
