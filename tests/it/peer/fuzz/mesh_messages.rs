//! Fuzzing of the mesh codecs: messages, the framer that splits the stream, and the greeting at its
//! start.

use rand::RngExt;
use rand::rngs::SmallRng;
use rollcall_chat::mesh::{
    FramingError, JsonFramer, MAX_GREETING_BYTES, MAX_MESSAGE_BYTES, MAX_PLAIN_BYTES, MeshMessage, MessageBody,
    MessageFormat, greeting, read_greeting,
};
use rollcall_chat::{MAX_AVATAR_BYTES, MAX_TEXT_BYTES};

use super::FuzzCounts;
use super::mutations::mutate;
use super::samples;

const SAMPLES: usize = 8;
const MAX_LISTED: usize = 256;
const MAX_AUTHORS_AND_RANGES: usize = 512;
/// Largest length of a message that can always be encoded again. An escaped byte takes six bytes,
/// and escaping of the JSON payload may double each of these.
const MAX_REENCODABLE_BYTES: usize = MAX_MESSAGE_BYTES / 12;

/// Returns the mutated messages that could be decoded.
pub(super) fn round(rng: &mut SmallRng, counts: &mut FuzzCounts) -> Vec<MeshMessage> {
    let mut written = Vec::new();
    for _ in 0..SAMPLES {
        let message = samples::message(rng);
        let bytes = message.write(MessageFormat { extended: true }).expect("a sample fits");
        let mut expected = message.clone();
        if let MessageBody::PeerList(list) = &mut expected.body {
            list.truncate(MAX_LISTED);
        }
        assert_eq!(MeshMessage::read(&bytes), Some(expected), "{bytes:?}");
        if let Some(plain) = message.write(MessageFormat::default()) {
            assert!(plain.len() <= MAX_PLAIN_BYTES);
        }
        written.push(bytes.to_vec());
    }
    // The framer splits messages without a separator.
    let texts: Vec<Vec<u8>> = written.iter().map(|bytes| bytes.trim_ascii_end().to_vec()).collect();
    assert_eq!(feed(&texts.concat(), |rest| rest.min(1000)), (texts, None));
    let mut all_read = Vec::new();
    let mut stream = Vec::new();
    for index in 0..SAMPLES {
        let mut bytes = written[index].clone();
        mutate(&mut bytes, &written, rng);
        let read = MeshMessage::read(&bytes);
        counts.add(read.is_some());
        if let Some(message) = read {
            check(&message, bytes.len());
            all_read.push(message);
        }
        stream.extend_from_slice(bytes.trim_ascii_end());
        stream.extend_from_slice([&b""[..], b"\n", b"\r\n \t"][rng.random_range(0..3)]);
    }
    for message in check_framing(&stream, rng, counts) {
        check(&message, stream.len());
        all_read.push(message);
    }
    check_greeting(rng, counts);
    all_read
}

fn check(message: &MeshMessage, length: usize) {
    match &message.body {
        MessageBody::Chat(text) | MessageBody::Direct { text, .. } => assert!(text.len() <= MAX_TEXT_BYTES),
        MessageBody::PeerList(list) => assert!(list.len() <= MAX_LISTED),
        MessageBody::Profile(profile) => {
            assert!(profile.avatar.as_ref().is_none_or(|avatar| avatar.size() <= MAX_AVATAR_BYTES));
        }
        MessageBody::HistoryRequest(have) | MessageBody::Have(have) => {
            assert!(
                have.len() <= MAX_AUTHORS_AND_RANGES
                    && have.values().all(|ranges| ranges.len() <= MAX_AUTHORS_AND_RANGES)
            );
        }
        MessageBody::Heartbeat { .. } | MessageBody::HistoryEnd { .. } | MessageBody::Prune(_) => {}
        MessageBody::Unknown => return,
    }
    let Some(bytes) = message.write(MessageFormat { extended: true }) else {
        assert!(length > MAX_REENCODABLE_BYTES, "not encoded: {message:?}");
        return;
    };
    assert!(bytes.len() <= MAX_MESSAGE_BYTES);
    assert_eq!(bytes.iter().position(|b| *b == b'\n'), Some(bytes.len() - 1), "a single line");
    let again = MeshMessage::read(&bytes).unwrap_or_else(|| panic!("not decoded: {bytes:?}"));
    assert_eq!(&again, message, "{bytes:?}");
}

/// Checks that a stream has the same messages and the same end for any sizes of its reads. Returns
/// the messages.
fn check_framing(stream: &[u8], rng: &mut SmallRng, counts: &mut FuzzCounts) -> Vec<MeshMessage> {
    let whole = feed(stream, |_| usize::MAX);
    let each = feed(stream, |_| 1);
    let max = rng.random_range(1..5000);
    let some = feed(stream, |rest| rng.random_range(1..=rest.min(max)));
    assert_eq!(whole, each, "byte by byte");
    assert_eq!(whole, some, "in pieces");
    let (found, _) = whole;
    assert!(found.iter().all(|bytes| bytes.len() <= MAX_MESSAGE_BYTES));
    counts.add(!found.is_empty());
    found.iter().filter_map(|bytes| MeshMessage::read(bytes)).collect()
}

fn feed(stream: &[u8], mut piece: impl FnMut(usize) -> usize) -> (Vec<Vec<u8>>, Option<FramingError>) {
    let (mut framer, mut rest, mut found) = (JsonFramer::default(), stream, Vec::new());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece(rest.len()).min(rest.len()));
        framer.extend(now);
        rest = later;
        loop {
            match framer.next_message() {
                Ok(Some(bytes)) => found.push(bytes.to_vec()),
                Ok(None) => break,
                Err(broken) => return (found, Some(broken)),
            }
        }
    }
    (found, None)
}

/// Checks that further bytes do not change the result once a greeting is accepted or rejected.
fn check_greeting(rng: &mut SmallRng, counts: &mut FuzzCounts) {
    let peer = samples::peer(rng);
    let mut bytes = greeting(peer).into_bytes();
    mutate(&mut bytes, &[b"{\"sender_id\":".to_vec(), vec![b'a'; 64]], rng);
    bytes.truncate(2 * MAX_GREETING_BYTES);
    let mut decided = None;
    for length in 0..=bytes.len() {
        let read = read_greeting(&bytes[..length]);
        if let Some(before) = &decided {
            assert_eq!(&read, before, "{bytes:?}");
        } else if read != Ok(None) {
            decided = Some(read);
        }
    }
    assert!(decided.is_some() || bytes.len() < MAX_GREETING_BYTES, "{bytes:?}");
    counts.add(matches!(decided, Some(Ok(_))));
}
