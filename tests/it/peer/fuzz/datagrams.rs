//! Fuzzing of the LAN codec: parsed values are within their limits, and encoding them again adds no field.

use rand::RngExt;
use rand::rngs::SmallRng;
use rollcall_chat::lan::{Datagram, DatagramBody, Dialect, MAX_DATAGRAM_BYTES};
use rollcall_chat::{MAX_AVATAR_BYTES, MAX_TEXT_BYTES, PeerProfile};

use super::FuzzStats;
use super::mutations::mutate;
use super::samples;

const SAMPLES: usize = 8;
const LONGEST_USER_ID: usize = 128;
const MOST_LISTED: usize = 256;
const LONGEST_NAME: usize = 64;
const LONGEST_STATUS: usize = 280;

/// Mutates datagrams, checks the codec, and returns those that could be parsed.
pub(super) fn round(rng: &mut SmallRng, stats: &mut FuzzStats) -> Vec<(Datagram, Dialect)> {
    let mut written = Vec::new();
    for _ in 0..SAMPLES {
        let (datagram, dialect) = (samples::datagram(rng), dialect(rng));
        let bytes = datagram.write(dialect).expect("a sample fits");
        let (read, found) = Datagram::read(&bytes).unwrap_or_else(|| panic!("not read: {datagram:?}"));
        assert_eq!((&read, found), (&as_read(&datagram, dialect), dialect), "{bytes:?}");
        forge(&datagram, &bytes, dialect, rng);
        written.push(bytes.to_vec());
    }
    let mut all_read = Vec::new();
    for index in 0..SAMPLES {
        let mut bytes = written[index].clone();
        mutate(&mut bytes, &written, rng);
        let read = Datagram::read(&bytes);
        stats.add(read.is_some());
        if let Some((datagram, dialect)) = read {
            check(&datagram, bytes.len());
            // Received values are encoded in both dialects.
            for form in [Dialect::Compact, Dialect::Spaced] {
                check_written(&datagram, form);
            }
            all_read.push((datagram, dialect));
        }
    }
    all_read
}

/// Checks that a field added behind the sender's field cannot replace the sender.
fn forge(datagram: &Datagram, bytes: &[u8], dialect: Dialect, rng: &mut SmallRng) {
    let text = std::str::from_utf8(bytes).expect("text");
    let mut lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
    let colon = if dialect == Dialect::Spaced { ": " } else { ":" };
    let forged = ["USER_ID", "FROM"].map(|key| format!("{key}{colon}evil@6.6.6.6"));
    // Line 1 is the type, line 2 the sender.
    let at = rng.random_range(2..=lines.len());
    if datagram.from.is_some() {
        let key = lines[1].split(':').next().unwrap_or_default();
        let same = forged.iter().find(|line| line.starts_with(key)).expect("either key");
        lines.insert(at, same);
        let (read, _) = Datagram::read(format!("{}\n\n", lines.join("\n")).as_bytes()).expect("still a datagram");
        assert_eq!(read.from, datagram.from, "forged: {lines:?}");
    }
}

/// Line breaks of all known readers. Independent of the list in the program, which is tested here.
fn ends_a_line(c: char) -> bool {
    "\n\r\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}".contains(c)
}

fn dialect(rng: &mut SmallRng) -> Dialect {
    if rng.random() { Dialect::Compact } else { Dialect::Spaced }
}

/// Checks the limits of parsed values.
fn check(datagram: &Datagram, length: usize) {
    assert!(datagram.from.as_ref().is_none_or(|user| user.as_str().len() <= LONGEST_USER_ID));
    match &datagram.body {
        DatagramBody::Discovery { port } => assert_ne!(*port, 0),
        DatagramBody::Post(text) | DatagramBody::Direct { text, .. } => {
            assert!(text.len() <= MAX_TEXT_BYTES.min(length));
        }
        DatagramBody::Profile { profile, .. } => {
            assert!(
                profile.display_name.chars().count() <= LONGEST_NAME
                    && profile.status.chars().count() <= LONGEST_STATUS
            );
            assert!(profile.avatar.as_ref().is_none_or(|avatar| avatar.size() <= MAX_AVATAR_BYTES));
        }
        DatagramBody::ListResponse(users) => assert!(users.len() <= MOST_LISTED),
        DatagramBody::ListRequest | DatagramBody::Ping | DatagramBody::Ack => {}
    }
    assert_eq!(datagram.from.is_none(), datagram.body == DatagramBody::Ack, "everything but an ACK has a sender");
}

fn check_written(datagram: &Datagram, dialect: Dialect) {
    let Some(bytes) = datagram.write(dialect) else {
        let has_no_number = datagram.body == DatagramBody::Ack && datagram.id.is_none();
        assert!(has_no_number, "not written: {datagram:?}");
        return;
    };
    assert!(bytes.len() <= MAX_DATAGRAM_BYTES);
    let text = std::str::from_utf8(&bytes).expect("text");
    let keys = keys(datagram, dialect);
    // Split as by the reader with the most line breaks.
    let lines: Vec<&str> = text.trim_end_matches('\n').split(ends_a_line).collect();
    let found: Vec<&str> = lines.iter().map(|line| line.split(':').next().unwrap_or(line)).collect();
    assert_eq!(found, keys, "a field was forged: {text:?}");
    let (read, form) = Datagram::read(&bytes).unwrap_or_else(|| panic!("not read: {text:?}"));
    assert_eq!((&read, form), (&as_read(datagram, dialect), dialect), "{text:?}");
}

/// Expected fields, from the table of the requirement and from the draft.
fn keys(datagram: &Datagram, dialect: Dialect) -> Vec<&'static str> {
    let is_draft = dialect == Dialect::Spaced;
    let stamp: &[&str] = if datagram.id.is_some() { &["TIMESTAMP", "MESSAGE_ID"] } else { &["TIMESTAMP"] };
    let only = |is_there: bool, key: &'static [&'static str]| if is_there { key } else { &[] };
    let parts: Vec<&[&str]> = match &datagram.body {
        DatagramBody::Discovery { .. } => vec![&["USER_ID", "PORT"], stamp],
        DatagramBody::Post(_) => {
            vec![&["USER_ID", "CONTENT"], only(is_draft, &["TTL"]), stamp, only(is_draft, &["TOKEN"])]
        }
        DatagramBody::Direct { .. } => vec![&["FROM", "TO", "CONTENT"], stamp, only(is_draft, &["TOKEN"])],
        DatagramBody::Profile { profile, .. } => {
            let avatar = only(profile.avatar.is_some(), &["AVATAR_TYPE", "AVATAR_ENCODING", "AVATAR_DATA"]);
            vec![&["USER_ID", "DISPLAY_NAME", "STATUS"], if is_draft { &[] } else { stamp }, avatar]
        }
        // A scan adds an id to recognise its own requests.
        DatagramBody::ListRequest => vec![&["FROM"], only(datagram.id.is_some(), &["MESSAGE_ID"])],
        DatagramBody::ListResponse(_) => vec![&["FROM", "PEERS", "COUNT"], stamp],
        DatagramBody::Ping => vec![&["USER_ID"]],
        DatagramBody::Ack => vec![&["MESSAGE_ID", "STATUS"]],
    };
    [&["TYPE"][..]].into_iter().chain(parts).flatten().copied().collect()
}

/// Expected result of parsing: texts on one line and trimmed, lists cut, and no fields that the dialect does not have.
fn as_read(datagram: &Datagram, dialect: Dialect) -> Datagram {
    let line = |text: &str| text.replace(ends_a_line, " ").trim().to_owned();
    let mut read = datagram.clone();
    match &mut read.body {
        DatagramBody::Post(text) | DatagramBody::Direct { text, .. } => *text = line(text),
        DatagramBody::Profile { profile, refused } => {
            *profile = PeerProfile::new(&line(&profile.display_name), &line(&profile.status), profile.avatar.clone());
            *refused = None;
        }
        DatagramBody::ListResponse(users) => users.truncate(MOST_LISTED),
        DatagramBody::Discovery { .. } | DatagramBody::ListRequest | DatagramBody::Ping | DatagramBody::Ack => {}
    }
    let is_draft_profile = dialect == Dialect::Spaced && matches!(read.body, DatagramBody::Profile { .. });
    if is_draft_profile || read.body == DatagramBody::Ping {
        (read.id, read.sent_at) = (None, 0);
    }
    if matches!(read.body, DatagramBody::Ack | DatagramBody::ListRequest) {
        read.sent_at = 0;
    }
    read
}
