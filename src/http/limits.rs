//! Every limit of the HTTP API: bytes, counts, waits and timeouts, each with its reason.
//!
//! Each row of [`LIMITS`] defines a constant. The documentation of a constant states its meaning
//! and the reason for its value. The text after `=>` states the effect beyond the limit.
//!
//! The syntax of one value (a username, a password) is a rule of its type in `rollcall_core`. The
//! registry has limits of its own, which do not depend on HTTP. `docs/security.md` names the tables
//! of all limits.

use std::fmt;
use std::time::Duration;

/// One row of [`LIMITS`]. A test compares the rows with the documentation of the API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// The name of the constant.
    pub name: &'static str,
    /// The value in `unit`.
    pub value: u64,
    /// The unit of the value.
    pub unit: Unit,
    /// The meaning of the limit, and the reason for its value.
    pub reason: &'static str,
    /// The effect beyond the limit. "does not apply" if nothing can exceed the value.
    pub beyond: &'static str,
}

/// The unit of a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// A number of items, such as connections.
    Count,
    /// Bytes.
    Bytes,
    /// Kibibytes: 1024 bytes.
    Kibibytes,
    /// Milliseconds.
    Milliseconds,
}

/// The value as documentation shows it: `64`, `512 KiB`, `250 ms`, `30 s`, `2 min`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units: &[(u64, &str)] = match self.unit {
            Unit::Count => return write!(f, "{}", self.value),
            Unit::Bytes => &[(1024 * 1024, "MiB"), (1024, "KiB"), (1, "bytes")],
            Unit::Kibibytes => &[(1024, "MiB"), (1, "KiB")],
            Unit::Milliseconds => &[(60_000, "min"), (1000, "s"), (1, "ms")],
        };
        // The largest unit that gives a whole number.
        let (size, unit) =
            units.iter().find(|(size, _)| self.value.is_multiple_of(*size)).expect("one divides every number");
        write!(f, "{} {unit}", self.value / size)
    }
}

/// Defines a constant for each limit, and [`LIMITS`] with all limits.
macro_rules! limits {
    ($($(#[doc = $reason:literal])+ $name:ident: $type:ident = $value:expr, $unit:ident => $beyond:literal;)+) => {
        $($(#[doc = $reason])+ pub(super) const $name: $type = $value;)+

        /// All limits of the HTTP API.
        pub const LIMITS: &[Limit] = &[$(Limit {
            name: stringify!($name),
            value: limits!(@value $type, $name),
            unit: Unit::$unit,
            reason: concat!($($reason),+).trim_ascii(),
            beyond: $beyond,
        }),+];
    };
    (@value u64, $value:expr) => { $value };
    (@value usize, $value:expr) => { $value as u64 };
    (@value i32, $value:expr) => { $value as u64 };
    (@value Duration, $value:expr) => { $value.as_secs() * 1000 + $value.subsec_millis() as u64 };
}

limits! {
    // Connections.

    /// Fewest files that a process must be able to open to run a node.
    MIN_OPEN_FILES: u64 = 64, Count => "the node does not start";

    /// Open files reserved for everything but served connections: the election, the bucket,
    /// snapshots and rejected connections. Half of all, if the process may open fewer than 1024.
    RESERVED_FILES: u64 = 512, Count => "does not apply";

    /// Fewest files that are reserved. A node with two others needs about 30 while it is idle.
    MIN_RESERVED_FILES: u64 = 48, Count => "does not apply";

    /// Longest wait of a new connection, or of a request for changes, for the place of a displaced
    /// one. A displaced connection may have to answer a request first.
    MAX_SLOT_WAIT: Duration = Duration::from_secs(1), Milliseconds
        => "503 `too_many_connections` or `overloaded`";

    /// Longest time for the running request of a displaced connection. The request is still
    /// answered if that takes less time.
    DISPLACEMENT_GRACE: Duration = Duration::from_secs(2), Milliseconds => "closed";

    /// Connections beyond `max_connections` that wait for a slot or for their 503. At most half of
    /// `max_connections`.
    MAX_REJECTED_CONNECTIONS: usize = 256, Count
        => "the client with the most loses one, else closed without a response";

    /// Longest time for the request and the 503 on a rejected connection.
    REJECTION_TIMEOUT: Duration = Duration::from_secs(2), Milliseconds => "closed";

    /// Longest time for the head of a request, and longest idle time between two requests. The TLS
    /// handshake belongs to the first head.
    HEAD_TIMEOUT: Duration = Duration::from_secs(30), Milliseconds => "closed";

    /// Encrypted bytes of a response that wait for their client to read them. One record of TLS has
    /// 16 KiB.
    MAX_TLS_BUFFER_BYTES: usize = 32 * 1024, Bytes => "the response is not encrypted further";

    /// Time between two checks of the files of the TLS certificate. A certificate that is replaced
    /// is served soon, and the check costs about a millisecond.
    CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(5), Milliseconds => "does not apply";

    /// Largest file with a TLS certificate or its key. A long chain has 20 KiB.
    MAX_PEM_BYTES: u64 = 256 * 1024, Bytes => "the certificate is not used";

    /// Longest time for which a blocked write to the connection makes no progress, because the
    /// client does not read. Reads from the connection have no such timeout: during a long download
    /// the client sends nothing. [`REQUEST_TIMEOUT`] bounds a slow request body.
    WRITE_TIMEOUT: Duration = Duration::from_secs(30), Milliseconds => "closed";

    /// Bytes of a long response that the client must read within [`SLOW_READ_WINDOW`]. The value is
    /// small: `/discover_with_images` waits for the bucket before each client, and a client without
    /// images adds few bytes.
    MIN_BYTES_PER_WINDOW: usize = 64 * 1024, Bytes => "closed";

    /// Longest time for each [`MIN_BYTES_PER_WINDOW`] of a long response.
    SLOW_READ_WINDOW: Duration = Duration::from_secs(30), Milliseconds => "closed";

    /// Longest time for a long response as a whole. A client that needs more time asks for pages.
    MAX_RESPONSE_TIME: Duration = Duration::from_mins(2), Milliseconds => "closed";

    /// Longest wait for running requests to end at shutdown.
    DRAIN_TIMEOUT: Duration = Duration::from_secs(10), Milliseconds => "closed";

    /// Connections that the system accepts before the node takes them over. With the usual 128, a
    /// burst of one client fills the queue, and new connections are lost until a retry after a
    /// second. The system may have a lower limit (`net.core.somaxconn`).
    ACCEPT_QUEUE: i32 = 4096, Count => "the client connects again after a second";

    /// Connections taken over at once, before requests are served again: a full queue. With fewer,
    /// a burst fills the queue while the requests of the connections before are served. Taking over
    /// one takes a few microseconds.
    ACCEPT_BATCH: usize = 4096, Count => "taken over after other tasks had a turn";

    /// Pause after a failed accept. Without free file descriptors, an immediate retry fails again
    /// and only costs processor time.
    ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(100), Milliseconds => "does not apply";

    // Requests.

    /// Largest head of a request.
    MAX_HEAD_BYTES: usize = 32 * 1024, Bytes => "431 without a body";

    /// Most header fields of a request.
    MAX_HEADERS: usize = 100, Count => "431 without a body";

    /// Largest JSON body. Many times the largest valid registration.
    MAX_JSON_BYTES: usize = 64 * 1024, Bytes => "413 `body_too_large`";

    /// Longest time until the response begins. It includes the arrival of the request body and
    /// excludes the wait of a long poll.
    REQUEST_TIMEOUT: Duration = Duration::from_secs(30), Milliseconds => "408 `request_timeout`";

    /// Most bytes of a rejected body that are read and discarded. If a connection is closed while
    /// the client still sends, it is reset. A reset can destroy the response on its way to the
    /// client.
    MAX_DISCARDED_BYTES: usize = 1024 * 1024, Bytes => "the response is sent at once";

    /// Longest time for which a rejected body is read.
    DISCARD_TIMEOUT: Duration = Duration::from_secs(2), Milliseconds => "the response is sent at once";

    /// Longest time for which a request is held while the leadership changes. Clients see a pause
    /// instead of an error.
    MAX_HANDOVER_WAIT: Duration = Duration::from_millis(500), Milliseconds
        => "403 `not_leader` or 503 `no_leader`";

    /// Longest request id that is accepted from a client.
    MAX_REQUEST_ID_BYTES: usize = 64, Bytes => "replaced by a generated id";

    /// Characters of a client's input that an error message repeats.
    MAX_QUOTED_CHARS: usize = 80, Count => "cut off";

    /// Time for which a browser may cache the result of a preflight request.
    PREFLIGHT_MAX_AGE: Duration = Duration::from_mins(10), Milliseconds => "the browser asks again";

    /// Requests that wait for one resource at once, such as memory for an upload. Most of them wait
    /// for half a second or two.
    MAX_WAITING_REQUESTS: usize = 1024, Count => "the client with the most loses one, else 503 `overloaded`";

    // Images.

    /// Largest image. Enough for 128 by 128 pixels in every accepted format.
    MAX_IMAGE_BYTES: usize = 512 * 1024, Bytes => "413 `body_too_large`";

    /// Bytes that a form may add to its image: boundaries, headers and other fields.
    MAX_FORM_OVERHEAD_BYTES: usize = 16 * 1024, Bytes => "413 `body_too_large`";

    /// Memory for the bodies of all uploads together. Enough for about 120 bodies of the largest
    /// size. The size of a body is counted once, although a body can take four times as much while
    /// its buffer grows.
    MAX_UPLOAD_MEMORY_KIB: usize = 64 * 1024, Kibibytes
        => "the client with the most loses an upload, else waits, then 503 `overloaded`";

    /// Memory that an upload takes at once while its body arrives. Small enough that a slow client
    /// takes little, and large enough that few steps are needed.
    UPLOAD_MEMORY_STEP_KIB: usize = 64, Kibibytes => "one more step";

    /// Longest boundary of a form (RFC 2046).
    MAX_BOUNDARY_BYTES: usize = 70, Bytes => "400 `missing_image`";

    /// Images checked and stored at once.
    MAX_CONCURRENT_UPLOADS: usize = 64, Count => "waits, then 503 `overloaded`";

    /// Longest wait of an upload for memory, and for a permit to be checked and stored.
    MAX_UPLOAD_WAIT: Duration = Duration::from_secs(2), Milliseconds => "503 `overloaded`";

    /// Longest time for the body of an upload to arrive.
    UPLOAD_BODY_TIMEOUT: Duration = Duration::from_secs(10), Milliseconds => "408 `request_timeout`";

    // Lists.

    /// Permits for all lists that are built or sent. Each takes one permit, and one more for each
    /// further [`LIST_PERMIT_BYTES`]. This bounds the memory of what slow clients still read.
    LIST_PERMITS: usize = 256, Count
        => "the client with the most loses a list, else waits, then 503 `overloaded`";

    /// Permits for single images, and for lists of one user's images, that are read or sent. They
    /// are not those of the lists, because they wait for the bucket.
    IMAGE_PERMITS: usize = 128, Count
        => "the client with the most loses an image, else waits, then 503 `overloaded`";

    /// Bytes of a list or an image that one permit covers.
    LIST_PERMIT_BYTES: usize = 1024 * 1024, Bytes => "one more permit";

    /// Most permits that one list takes. A list of any length can therefore be sent, but only four
    /// such lists at once.
    MAX_PERMITS_PER_LIST: usize = 64, Count => "sent with that many permits";

    /// Longest wait of a request for a list permit.
    MAX_LIST_WAIT: Duration = Duration::from_millis(500), Milliseconds => "503 `overloaded`";

    /// Size of the chunks in which a list or an image is sent. One of a single chunk fits into the
    /// buffers of a connection and is sent at once.
    LIST_CHUNK_BYTES: usize = 64 * 1024, Bytes => "sent in several chunks";

    /// Long pages built at once. Each is built for one reader and may be as long as the whole list.
    MAX_CONCURRENT_PAGES: usize = 4, Count => "waits, then 503 `overloaded`";

    /// Longest wait of a request until its long page is built.
    MAX_PAGE_WAIT: Duration = Duration::from_millis(500), Milliseconds => "503 `overloaded`";

    /// Most rows of a page that is built on an async worker thread. Building so few rows takes less
    /// time than handing the work to a blocking thread.
    MAX_INLINE_ROWS: usize = 200, Count => "built on a blocking thread";

    /// Most changes of a list that are encoded on an async worker thread.
    MAX_INLINE_CHANGES: u64 = 1000, Count => "encoded on a blocking thread";

    /// Burst of the token bucket for rebuilds of one list. With few writes, each list contains all
    /// of them, so a client reads its own writes.
    REBUILD_BURST: u64 = 10, Count => "the previous list is sent";

    /// Refill time of one token in the same bucket: at most ten rebuilds a second after a burst.
    REBUILD_REFILL_MS: u64 = 100, Milliseconds => "the previous list is sent";

    /// Requests that wait for changes at once. A sixteenth of the connections by default, so that
    /// most connections stay free for other requests.
    MAX_LONG_POLLS: usize = 1024, Count
        => "the client with the most gets an answer without changes, else 503 `overloaded`";

    /// Longest wait for changes, even if the request asks for more. Many proxies close a request
    /// without a response after 60 s.
    MAX_LONG_POLL_WAIT: Duration = Duration::from_secs(55), Milliseconds => "answered with no changes";

    /// Shortest time between two wake-ups of all waiting requests. The first change after a quiet
    /// time wakes them at once.
    MIN_WAKE_INTERVAL: Duration = Duration::from_millis(50), Milliseconds => "woken together";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use syn::visit::{self, Visit};

    use super::*;

    /// Constants in other files that are not limits: file, name and reason.
    const EXCEPTIONS: &[(&str, &str, &str)] = &[
        ("json.rs", "RESPONSE_BUFFER_BYTES", "initial size of a buffer"),
        ("routes/presence.rs", "ACCEPTED_BUFFER_BYTES", "initial size of a buffer"),
        ("lists/etag.rs", "TAG_HASH_BYTES", "length of a format"),
        ("tls/certificate_warnings.rs", "EXPIRY_NOTICE", "a warning is no bound"),
    ];

    /// Constants that may be limits, and durations with literal numbers.
    #[derive(Default)]
    struct NumericConstants {
        constants: Vec<String>,
        durations: Vec<String>,
    }

    impl NumericConstants {
        fn of(path: &Path) -> Self {
            let text = fs::read_to_string(path).expect("readable");
            let mut found_numbers = Self::default();
            found_numbers.visit_file(&syn::parse_file(&text).expect("valid Rust"));
            found_numbers
        }

        fn add(&mut self, name: &syn::Ident, kind: &syn::Type) {
            let syn::Type::Path(path) = kind else { return };
            let kind = path.path.segments.last().expect("a type has a name").ident.to_string();
            if ["usize", "u8", "u16", "u32", "u64", "u128", "Duration"].contains(&kind.as_str()) {
                self.constants.push(name.to_string());
            }
        }
    }

    impl<'ast> Visit<'ast> for NumericConstants {
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

    /// Adds the source files of the API with their paths, except `limits.rs` and tests.
    fn sources(folder: &Path, below: &str, found: &mut Vec<(String, NumericConstants)>) {
        for entry in fs::read_dir(folder).expect("the sources are here") {
            let entry = entry.expect("readable");
            let name = entry.file_name().into_string().expect("ASCII");
            let path = format!("{below}{name}");
            if entry.path().is_dir() {
                sources(&entry.path(), &format!("{path}/"), found);
            } else if !["tests.rs", "testing.rs", "limits.rs"].contains(&name.as_str()) {
                found.push((path, NumericConstants::of(&entry.path())));
            }
        }
    }

    /// Appends the text of all source files of the API except `limits.rs`.
    fn read_sources(folder: &Path, code: &mut String) {
        for entry in fs::read_dir(folder).expect("the sources are here") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                read_sources(&path, code);
            } else if !path.ends_with("limits.rs") {
                code.push_str(&fs::read_to_string(&path).expect("readable"));
            }
        }
    }

    #[test]
    fn every_limit_of_the_api_is_defined_in_limits_rs() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
        let mut files = Vec::new();
        sources(&folder, "", &mut files);
        assert!(files.len() > 20, "the sources were not found");
        let mut used_exceptions = BTreeSet::<&(&str, &str, &str)>::new();
        for (path, found_numbers) in &files {
            for constant in &found_numbers.constants {
                let exception =
                    EXCEPTIONS.iter().find(|(file, name, _)| (file, name) == (&path.as_str(), &constant.as_str()));
                assert!(exception.is_some(), "{path}: move {constant} to limits.rs");
                used_exceptions.extend(exception);
            }
            let durations = &found_numbers.durations;
            assert!(durations.is_empty(), "{path}: give {durations:?} a name in limits.rs");
        }
        assert_eq!(used_exceptions.len(), EXCEPTIONS.len(), "an exception does not exist any more: {EXCEPTIONS:?}");
    }

    #[test]
    fn every_limit_has_a_reason_and_is_used() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
        let mut code = String::new();
        read_sources(&folder, &mut code);
        for limit in LIMITS {
            assert!(limit.reason.ends_with('.') && !limit.beyond.is_empty(), "{limit:?}");
            assert!(code.contains(limit.name), "{} is not used", limit.name);
        }
    }

    #[test]
    fn a_limit_is_shown_in_the_largest_unit_that_gives_a_whole_number() {
        let shown = |name| LIMITS.iter().find(|limit| limit.name == name).expect("a limit").to_string();
        for (name, expected) in [
            ("RESERVED_FILES", "512"),
            ("MAX_JSON_BYTES", "64 KiB"),
            ("MAX_REQUEST_ID_BYTES", "64 bytes"),
            ("MAX_UPLOAD_MEMORY_KIB", "64 MiB"),
            ("MAX_LIST_WAIT", "500 ms"),
            ("REQUEST_TIMEOUT", "30 s"),
            ("MAX_RESPONSE_TIME", "2 min"),
            ("REBUILD_REFILL_MS", "100 ms"),
        ] {
            assert_eq!(shown(name), expected, "{name}");
        }
    }
}
