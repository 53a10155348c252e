//! Mutations of valid bytes.

use rand::RngExt;
use rand::rngs::SmallRng;

/// Largest length of a mutated sample. A socket or the framer never delivers more.
const MAX_BYTES: usize = 65_507;
/// Largest number of mutations per sample. All numbers from zero to this are equally likely.
const MAX_CHANGES: u32 = 5;

/// Byte strings with a meaning for a decoder, or with invalid UTF-8.
const TOKENS: [&[u8]; 31] = [
    b"AAAA",
    b"\n",
    b"\r\n",
    b"\n\n",
    b":",
    b": ",
    b"\0",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    "\u{2028}".as_bytes(),
    "\u{85}".as_bytes(),
    b"\x0b",
    b"\x1c",
    b"\nUSER_ID:evil@6.6.6.6\n",
    b"\nTYPE:DM\n",
    b"\nFROM: evil@6.6.6.6\n",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"-1",
    b"1e999",
    b"0",
    b"99999999999999999",
    b"null",
    b"\"",
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"{",
    b"}",
    b"]",
];
/// Starts of nested JSON and YAML values.
const OPENERS: [&[u8]; 4] = [b"[", b"{\"a\":", b"{", b"- "];

/// Mutates a sample. Some mutations insert parts of `others`.
pub(super) fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut SmallRng) {
    for _ in 0..rng.random_range(0..=MAX_CHANGES) {
        change(bytes, others, rng);
        bytes.truncate(MAX_BYTES);
    }
}

fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut SmallRng) {
    let at = rng.random_range(0..=bytes.len());
    match rng.random_range(0..10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = rng.random(),
        2 => bytes.truncate(at),
        3 => {
            let end = (at + rng.random_range(0..40)).min(bytes.len());
            bytes.drain(at..end);
        }
        4 => insert(bytes, at, TOKENS[rng.random_range(0..TOKENS.len())]),
        5 => {
            let other = &others[rng.random_range(0..others.len())];
            let from = rng.random_range(0..=other.len());
            let until = (from + rng.random_range(0..200)).min(other.len());
            insert(bytes, at, &other[from..until]);
        }
        6 => {
            let deep = OPENERS[rng.random_range(0..OPENERS.len())].repeat(rng.random_range(1..2000));
            insert(bytes, at, &deep);
        }
        7 => move_line(bytes, rng),
        8 => replace_number(bytes, at, rng),
        _ => {
            let byte = TOKENS[rng.random_range(0..TOKENS.len())][0];
            insert(bytes, at, &vec![byte; 4 * rng.random_range(1..5_000)]);
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, what: &[u8]) {
    bytes.splice(at..at, what.iter().copied());
}

/// Moves or duplicates a line.
fn move_line(bytes: &mut Vec<u8>, rng: &mut SmallRng) {
    let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let line = lines[rng.random_range(0..lines.len())].clone();
    if rng.random() {
        lines.remove(rng.random_range(0..lines.len()));
    }
    lines.insert(rng.random_range(0..=lines.len()), line);
    *bytes = lines.join(&b'\n');
}

/// Replaces the first number after a position by a small, random, large or huge one.
fn replace_number(bytes: &mut Vec<u8>, at: usize, rng: &mut SmallRng) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) else { return };
    let length = bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    let number = match rng.random_range(0..4) {
        0 => rng.random_range(0..3_u64).to_string(),
        1 => (1_u64 << rng.random_range(0..64)).to_string(),
        2 => u64::MAX.to_string(),
        _ => "9".repeat(rng.random_range(1..400)),
    };
    bytes.splice(start..start + length, number.bytes());
}
