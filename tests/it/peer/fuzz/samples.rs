//! Valid datagrams and messages of every kind, with texts of every kind.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::SmallRng;
use rollcall_chat::lan::{self, Datagram};
use rollcall_chat::mesh::{self, MeshMessage};
use rollcall_chat::{Avatar, LanUserId, MAX_AVATAR_BYTES, MAX_TEXT_BYTES, Nickname, PeerEndpoint, PeerId, PeerProfile};

/// Number of different peers.
const PEERS: u128 = 6;

pub(super) fn text(rng: &mut SmallRng) -> String {
    const ODD: [char; 16] = [
        ' ',
        ':',
        '\n',
        '\r',
        '\t',
        '\0',
        '\u{b}',
        '\u{85}',
        '\u{2028}',
        '\u{202e}',
        '"',
        '\\',
        '{',
        'ß',
        '漢',
        '\u{10ffff}',
    ];
    let max = if rng.random_range(0..50) == 0 { 6000 } else { 30 };
    let mut text = String::new();
    for _ in 0..rng.random_range(0..max) {
        text.push(if rng.random() { ODD[rng.random_range(0..ODD.len())] } else { rng.random_range('a'..='z') });
    }
    while text.len() > MAX_TEXT_BYTES {
        text.pop();
    }
    text
}

pub(super) fn peer(rng: &mut SmallRng) -> PeerId {
    PeerId(rng.random_range(1..=PEERS))
}

pub(super) fn user(rng: &mut SmallRng) -> LanUserId {
    let number = rng.random_range(1..=PEERS);
    let names = [
        format!("u{number}@10.0.0.{number}"),
        format!("a:b\"@10.0.0.{number}"),
        format!("ü@{number}"),
        "pl|ain".into(),
    ];
    LanUserId::parse(&names[rng.random_range(0..names.len())]).expect("a name")
}

fn endpoint(rng: &mut SmallRng) -> PeerEndpoint {
    let number = rng.random_range(1..=60_000);
    let texts = [
        format!("10.0.0.1:{number}"),
        format!("[fe80::{number:x}%eth0]:80"),
        format!("peer{number}:8080"),
        "0.0.0.0:9".into(),
    ];
    PeerEndpoint::parse(&texts[rng.random_range(0..texts.len())]).expect("an endpoint")
}

pub(super) fn profile(rng: &mut SmallRng) -> PeerProfile {
    let mut picture =
        [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP"][rng.random_range(0..3)].to_vec();
    // In half of the cases the picture has the largest size.
    picture.resize(if rng.random() { MAX_AVATAR_BYTES } else { picture.len() + rng.random_range(0..2_000) }, 7);
    let avatar = if rng.random() { Some(Avatar::new(&picture).expect("a picture")) } else { None };
    PeerProfile::new(&text(rng), &text(rng), avatar)
}

pub(super) fn datagram(rng: &mut SmallRng) -> Datagram {
    let body = match rng.random_range(0..11) {
        0 => lan::DatagramBody::Discovery { port: rng.random_range(1..=u16::MAX) },
        1 => lan::DatagramBody::Post(text(rng)),
        2 => lan::DatagramBody::Direct { to: user(rng), text: text(rng) },
        3 => lan::DatagramBody::Profile { profile: profile(rng), refused: None },
        4 => lan::DatagramBody::ListRequest,
        5 => lan::DatagramBody::ListResponse((0..rng.random_range(0..300)).map(|_| user(rng)).collect()),
        6 => lan::DatagramBody::Ping,
        7 => lan::DatagramBody::Follow { to: user(rng) },
        8 => lan::DatagramBody::Unfollow { to: user(rng) },
        9 => lan::DatagramBody::Revoke,
        _ => lan::DatagramBody::Ack,
    };
    let from = (body != lan::DatagramBody::Ack).then(|| user(rng));
    Datagram { from, id: Some(rng.random()), sent_at: rng.random_range(0..2_000_000_000), body }
}

fn ranges(rng: &mut SmallRng) -> BTreeMap<PeerId, mesh::SeqRanges> {
    let mut range = |_| (rng.random_range(0..200), rng.random_range(0..200));
    (1..=PEERS).map(|id| (PeerId(id), (0..4).map(&mut range).collect())).collect()
}

pub(super) fn message(rng: &mut SmallRng) -> MeshMessage {
    let body = match rng.random_range(0..9) {
        0 => mesh::MessageBody::Chat(text(rng)),
        1 => mesh::MessageBody::Heartbeat {
            extension: if rng.random() { Some(rng.random_range(0..3)) } else { None },
            listen: if rng.random() { Some(endpoint(rng)) } else { None },
        },
        2 => mesh::MessageBody::PeerList((0..rng.random_range(0..300)).map(|_| endpoint(rng)).collect()),
        3 => mesh::MessageBody::Direct { to: peer(rng), text: text(rng) },
        4 => mesh::MessageBody::Profile(profile(rng)),
        5 => mesh::MessageBody::HistoryRequest(ranges(rng)),
        6 => mesh::MessageBody::Have(ranges(rng)),
        7 => mesh::MessageBody::Prune(peer(rng)),
        _ => mesh::MessageBody::HistoryEnd { more: rng.random() },
    };
    let name = if rng.random() { Some(Nickname::parse("al:\"ü").expect("a name")) } else { None };
    MeshMessage {
        sender: peer(rng),
        number: rng.random_range(0..300),
        said_at: rng.random_range(0..2_000_000_000),
        name,
        body,
    }
}
