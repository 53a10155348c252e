//! The LAN codec: decoded values are bounded, and a datagram that is encoded again has the same
//! value and no extra field.

use rand::RngExt;
use rand::rngs::SmallRng;
use rollcall_chat::lan::{Datagram, DatagramBody, Dialect, MAX_DATAGRAM_BYTES};
use rollcall_chat::{MAX_AVATAR_BYTES, MAX_TEXT_BYTES, PeerProfile};

use super::FuzzCounts;
use super::mutations::mutate;
use super::samples;

const SAMPLES: usize = 8;
const MAX_USER_ID: usize = 128;
const MAX_LISTED: usize = 256;
const MAX_NAME: usize = 64;
const MAX_STATUS: usize = 280;

/// Returns the mutated datagrams that could be decoded.
pub(super) fn round(rng: &mut SmallRng, counts: &mut FuzzCounts) -> Vec<(Datagram, Dialect)> {
    let mut written = Vec::new();
    for _ in 0..SAMPLES {
        let (datagram, dialect) = (samples::datagram(rng), dialect(rng));
        let bytes = datagram.write(dialect).expect("a sample fits");
        let (read, found) = Datagram::read(&bytes).unwrap_or_else(|| panic!("not decoded: {datagram:?}"));
        assert_eq!((&read, found), (&as_read(&datagram, dialect), dialect), "{bytes:?}");
        check_forged_sender(&datagram, &bytes, dialect, rng);
        written.push(bytes.to_vec());
    }
    let mut all_read = Vec::new();
    for index in 0..SAMPLES {
        let mut bytes = written[index].clone();
        mutate(&mut bytes, &written, rng);
        let read = Datagram::read(&bytes);
        counts.add(read.is_some());
        if let Some((datagram, dialect)) = read {
            check_bounds(&datagram, bytes.len());
            // A peer may encode any received value again, in either dialect.
            for form in [Dialect::Compact, Dialect::Spaced] {
                check_written(&datagram, form);
            }
            all_read.push((datagram, dialect));
        }
    }
    all_read
}

/// Checks that a second sender line never changes the sender. An encoder that does not escape line
/// breaks can write such a line.
fn check_forged_sender(datagram: &Datagram, bytes: &[u8], dialect: Dialect, rng: &mut SmallRng) {
    let text = std::str::from_utf8(bytes).expect("text");
    let mut lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
    let colon = if dialect == Dialect::Spaced { ": " } else { ":" };
    let forged = [("USER_ID", "evil@6.6.6.6"), ("FROM", "evil@6.6.6.6"), ("TOKEN", "evil@6.6.6.6|9|chat")]
        .map(|(key, value)| format!("{key}{colon}{value}"));
    // The first line is the type, the second the sender.
    let at = rng.random_range(2..=lines.len());
    if datagram.from.is_some() {
        let key = lines[1].split(':').next().unwrap_or_default();
        let same = forged.iter().find(|line| line.starts_with(key)).expect("one of the keys");
        lines.insert(at, same);
        let (read, _) = Datagram::read(format!("{}\n\n", lines.join("\n")).as_bytes()).expect("still a datagram");
        assert_eq!(read.from, datagram.from, "forged: {lines:?}");
    }
}

/// All characters that some program treats as a line end. The list is separate from the program's
/// own list, which is under test.
fn ends_a_line(c: char) -> bool {
    "\n\r\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}".contains(c)
}

fn dialect(rng: &mut SmallRng) -> Dialect {
    if rng.random() { Dialect::Compact } else { Dialect::Spaced }
}

/// Checks the bounds of a decoded datagram.
fn check_bounds(datagram: &Datagram, length: usize) {
    assert!(datagram.from.as_ref().is_none_or(|user| user.as_str().len() <= MAX_USER_ID));
    match &datagram.body {
        DatagramBody::Discovery { port } => assert_ne!(*port, 0),
        DatagramBody::Post(text) | DatagramBody::Direct { text, .. } => {
            assert!(text.len() <= MAX_TEXT_BYTES.min(length));
        }
        DatagramBody::Profile { profile, .. } => {
            assert!(profile.display_name.chars().count() <= MAX_NAME && profile.status.chars().count() <= MAX_STATUS);
            assert!(profile.avatar.as_ref().is_none_or(|avatar| avatar.size() <= MAX_AVATAR_BYTES));
        }
        DatagramBody::ListResponse(users) => assert!(users.len() <= MAX_LISTED),
        DatagramBody::Follow { to } | DatagramBody::Unfollow { to } => assert!(to.as_str().len() <= MAX_USER_ID),
        DatagramBody::ListRequest | DatagramBody::Revoke | DatagramBody::Ping | DatagramBody::Ack => {}
    }
    assert_eq!(datagram.from.is_none(), datagram.body == DatagramBody::Ack, "everything but an ACK has a sender");
}

fn check_written(datagram: &Datagram, dialect: Dialect) {
    let Some(bytes) = datagram.write(dialect) else {
        let has_no_id = datagram.body == DatagramBody::Ack && datagram.id.is_none();
        assert!(has_no_id, "not encoded: {datagram:?}");
        return;
    };
    assert!(bytes.len() <= MAX_DATAGRAM_BYTES);
    let text = std::str::from_utf8(&bytes).expect("text");
    let keys = keys(datagram, dialect);
    // Split like a program that knows all these line ends.
    let lines: Vec<&str> = text.trim_end_matches('\n').split(ends_a_line).collect();
    let found: Vec<&str> = lines.iter().map(|line| line.split(':').next().unwrap_or(line)).collect();
    assert_eq!(found, keys, "a field was forged: {text:?}");
    let (read, form) = Datagram::read(&bytes).unwrap_or_else(|| panic!("not decoded: {text:?}"));
    assert_eq!((&read, form), (&as_read(datagram, dialect), dialect), "{text:?}");
}

/// Field names of a datagram in order: those of the requirement, and in the draft dialect those of
/// the draft.
fn keys(datagram: &Datagram, dialect: Dialect) -> Vec<&'static str> {
    let is_draft = dialect == Dialect::Spaced;
    let stamp: &[&str] = if datagram.id.is_some() { &["TIMESTAMP", "MESSAGE_ID"] } else { &["TIMESTAMP"] };
    let keys_if = |is_present: bool, keys: &'static [&'static str]| if is_present { keys } else { &[] };
    let parts: Vec<&[&str]> = match &datagram.body {
        DatagramBody::Discovery { .. } => vec![&["USER_ID", "PORT"], stamp],
        DatagramBody::Post(_) => {
            vec![&["USER_ID", "CONTENT"], keys_if(is_draft, &["TTL"]), stamp, &["TOKEN"]]
        }
        DatagramBody::Direct { .. } => vec![&["FROM", "TO", "CONTENT"], stamp, &["TOKEN"]],
        DatagramBody::Follow { .. } | DatagramBody::Unfollow { .. } => vec![&["FROM", "TO"], stamp, &["TOKEN"]],
        DatagramBody::Revoke => vec![&["TOKEN"]],
        DatagramBody::Profile { profile, .. } => {
            let avatar = keys_if(profile.avatar.is_some(), &["AVATAR_TYPE", "AVATAR_ENCODING", "AVATAR_DATA"]);
            vec![&["USER_ID", "DISPLAY_NAME", "STATUS"], if is_draft { &[] } else { stamp }, avatar]
        }
        // A scan gives its request an id, because it must recognise its own broadcast.
        DatagramBody::ListRequest => vec![&["FROM"], keys_if(datagram.id.is_some(), &["MESSAGE_ID"])],
        DatagramBody::ListResponse(_) => vec![&["FROM", "PEERS", "COUNT"], stamp],
        DatagramBody::Ping => vec![&["USER_ID"]],
        DatagramBody::Ack => vec![&["MESSAGE_ID", "STATUS"]],
    };
    [&["TYPE"][..]].into_iter().chain(parts).flatten().copied().collect()
}

/// The value that a reader decodes: texts on one line without spaces at the ends, and only the
/// fields that the dialect has.
fn as_read(datagram: &Datagram, dialect: Dialect) -> Datagram {
    let line = |text: &str| text.replace(ends_a_line, " ").trim().to_owned();
    let mut read = datagram.clone();
    match &mut read.body {
        DatagramBody::Post(text) | DatagramBody::Direct { text, .. } => *text = line(text),
        DatagramBody::Profile { profile, refused } => {
            *profile = PeerProfile::new(&line(&profile.display_name), &line(&profile.status), profile.avatar.clone());
            *refused = None;
        }
        DatagramBody::ListResponse(users) => users.truncate(MAX_LISTED),
        DatagramBody::Discovery { .. }
        | DatagramBody::ListRequest
        | DatagramBody::Follow { .. }
        | DatagramBody::Unfollow { .. }
        | DatagramBody::Revoke
        | DatagramBody::Ping
        | DatagramBody::Ack => {}
    }
    let is_draft_profile = dialect == Dialect::Spaced && matches!(read.body, DatagramBody::Profile { .. });
    if is_draft_profile || matches!(read.body, DatagramBody::Ping | DatagramBody::Revoke) {
        (read.id, read.sent_at) = (None, 0);
    }
    if matches!(read.body, DatagramBody::Ack | DatagramBody::ListRequest) {
        read.sent_at = 0;
    }
    read
}
