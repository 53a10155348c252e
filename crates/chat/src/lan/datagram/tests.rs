//! Unit tests of the LAN codec: fields of each type, dialects, forged lines and invalid datagrams.

use proptest::prelude::*;

use super::*;
use rollcall_core::escape::is_line_break;

fn alice() -> LanUserId {
    LanUserId::parse("alice@192.168.1.11").unwrap()
}

fn from_alice(body: DatagramBody) -> Datagram {
    Datagram { from: Some(alice()), id: Some(0x00ab_c123), sent_at: 1_728_938_500, body }
}

fn written(datagram: &Datagram, dialect: Dialect) -> String {
    String::from_utf8(datagram.write(dialect).unwrap().to_vec()).unwrap()
}

#[test]
fn each_type_has_its_documented_fields_in_order() {
    let stamp = "TIMESTAMP:1728938500\nMESSAGE_ID:0000000000abc123\n";
    let token = "alice@192.168.1.11|1728942100";
    let bob = LanUserId::parse("bob@192.168.1.12").unwrap();
    let avatar = Avatar::new(b"\xff\xd8\xff\xe0").unwrap();
    let profile = PeerProfile::new("Al", "here", Some(avatar));
    for (body, expected) in [
        (
            DatagramBody::Discovery { port: 8500 },
            format!("TYPE:PEER_DISCOVERY\nUSER_ID:alice@192.168.1.11\nPORT:8500\n{stamp}\n"),
        ),
        (
            DatagramBody::Post("Hello P2P network!".into()),
            format!(
                "TYPE:POST\nUSER_ID:alice@192.168.1.11\nCONTENT:Hello P2P network!\n{stamp}TOKEN:{token}|broadcast\n\n"
            ),
        ),
        (
            DatagramBody::Direct { to: bob.clone(), text: "psst".into() },
            format!(
                "TYPE:DM\nFROM:alice@192.168.1.11\nTO:bob@192.168.1.12\nCONTENT:psst\n{stamp}TOKEN:{token}|chat\n\n"
            ),
        ),
        (
            DatagramBody::Follow { to: bob.clone() },
            format!("TYPE:FOLLOW\nFROM:alice@192.168.1.11\nTO:bob@192.168.1.12\n{stamp}TOKEN:{token}|follow\n\n"),
        ),
        (
            DatagramBody::Unfollow { to: bob.clone() },
            format!("TYPE:UNFOLLOW\nFROM:alice@192.168.1.11\nTO:bob@192.168.1.12\n{stamp}TOKEN:{token}|follow\n\n"),
        ),
        (DatagramBody::Revoke, format!("TYPE:REVOKE\nTOKEN:{token}|broadcast\n\n")),
        (
            DatagramBody::Profile { profile, refused: None },
            format!(
                "TYPE:PROFILE\nUSER_ID:alice@192.168.1.11\nDISPLAY_NAME:Al\nSTATUS:here\n{stamp}AVATAR_TYPE:image/jpeg\nAVATAR_ENCODING:base64\nAVATAR_DATA:/9j/4A==\n\n"
            ),
        ),
        (
            DatagramBody::ListRequest,
            "TYPE:PEER_LIST_REQUEST\nFROM:alice@192.168.1.11\nMESSAGE_ID:0000000000abc123\n\n".into(),
        ),
        (
            DatagramBody::ListResponse(vec![alice(), bob]),
            format!(
                "TYPE:PEER_LIST_RESPONSE\nFROM:alice@192.168.1.11\nPEERS:[\"alice@192.168.1.11\",\"bob@192.168.1.12\"]\nCOUNT:2\n{stamp}\n"
            ),
        ),
    ] {
        assert_eq!(written(&from_alice(body), Dialect::Compact), expected);
    }
    let list_request = Datagram { id: None, ..from_alice(DatagramBody::ListRequest) };
    assert_eq!(written(&list_request, Dialect::Compact), "TYPE:PEER_LIST_REQUEST\nFROM:alice@192.168.1.11\n\n");
}

#[test]
fn the_draft_dialect_has_spaces_and_tokens() {
    let text = written(&from_alice(DatagramBody::Post("hi".into())), Dialect::Spaced);
    assert_eq!(
        text,
        "TYPE: POST\nUSER_ID: alice@192.168.1.11\nCONTENT: hi\nTTL: 3600\nTIMESTAMP: 1728938500\nMESSAGE_ID: 0000000000abc123\nTOKEN: alice@192.168.1.11|1728942100|broadcast\n\n"
    );
    let bob = LanUserId::parse("bob@192.168.1.12").unwrap();
    assert_eq!(
        written(&from_alice(DatagramBody::Direct { to: bob.clone(), text: "psst".into() }), Dialect::Spaced),
        "TYPE: DM\nFROM: alice@192.168.1.11\nTO: bob@192.168.1.12\nCONTENT: psst\nTIMESTAMP: 1728938500\nMESSAGE_ID: 0000000000abc123\nTOKEN: alice@192.168.1.11|1728942100|chat\n\n"
    );
    assert_eq!(
        written(&from_alice(DatagramBody::Follow { to: bob }), Dialect::Spaced),
        "TYPE: FOLLOW\nFROM: alice@192.168.1.11\nTO: bob@192.168.1.12\nTIMESTAMP: 1728938500\nMESSAGE_ID: 0000000000abc123\nTOKEN: alice@192.168.1.11|1728942100|follow\n\n"
    );
    assert_eq!(
        written(&from_alice(DatagramBody::Revoke), Dialect::Spaced),
        "TYPE: REVOKE\nTOKEN: alice@192.168.1.11|1728942100|broadcast\n\n"
    );
    let ack = Datagram { from: None, id: Some(5), sent_at: 0, body: DatagramBody::Ack };
    assert_eq!(written(&ack, Dialect::Spaced), "TYPE: ACK\nMESSAGE_ID: 0000000000000005\nSTATUS: RECEIVED\n\n");
}

#[test]
fn both_dialects_are_parsed_and_distinguished() {
    for (text, dialect) in [
        ("TYPE:POST\nUSER_ID:alice@192.168.1.11\nCONTENT: spaced out \nTIMESTAMP:5\n\n", Dialect::Compact),
        ("TYPE: POST\nUSER_ID: alice@192.168.1.11\nCONTENT: spaced out\nTIMESTAMP: 5\n\n", Dialect::Spaced),
        (
            "TYPE:POST\r\nno colon\r\nUSER_ID:alice@192.168.1.11\r\nCONTENT:spaced out\r\nTIMESTAMP:5\r\n",
            Dialect::Compact,
        ),
    ] {
        let (read, found) = Datagram::read(text.as_bytes()).unwrap();
        assert_eq!((read.body, read.sent_at, found), (DatagramBody::Post("spaced out".into()), 5, dialect), "{text:?}");
    }
}

#[test]
fn a_line_break_in_a_text_cannot_forge_the_sender() {
    let evil = from_alice(DatagramBody::Post("hi\nUSER_ID:evil@6.6.6.6\r\u{2028}TYPE:DM\n\nX:1".into()));
    let (read, _) = Datagram::read(&evil.write(Dialect::Compact).unwrap()).unwrap();
    assert_eq!(read.from, Some(alice()));
    assert_eq!(read.body, DatagramBody::Post("hi USER_ID:evil@6.6.6.6  TYPE:DM  X:1".into()));
    // If a sender does not escape line breaks, the first USER_ID is still the sender.
    let (read, _) =
        Datagram::read(b"TYPE:POST\nUSER_ID:alice@192.168.1.11\nCONTENT:hi\nUSER_ID:evil@6.6.6.6\n\n").unwrap();
    assert_eq!(read.from, Some(alice()));
}

#[test]
fn the_token_of_a_message_is_not_checked_and_that_of_a_leave_names_the_sender() {
    for token in ["", "TOKEN:alice@192.168.1.11|1|broadcast\n", "TOKEN:eve@6.6.6.6|x|y|z\n", "TOKEN:\n"] {
        let post = format!("TYPE:POST\nUSER_ID:alice@192.168.1.11\nCONTENT:hi\n{token}\n");
        let (read, _) = Datagram::read(post.as_bytes()).unwrap();
        assert_eq!((read.from, read.body), (Some(alice()), DatagramBody::Post("hi".into())), "{token:?}");
    }
    let leaver = |token: &str| Datagram::read(format!("TYPE:REVOKE\nTOKEN:{token}\n\n").as_bytes());
    let user = |token: &str| leaver(token).and_then(|(datagram, _)| datagram.from);
    assert_eq!(user("alice@192.168.1.11|1|anything"), Some(alice()), "an old token announces a leave, too");
    // A name can contain bars.
    let barred = LanUserId::parse("a|1|b@10.0.0.1").unwrap();
    let leave = Datagram { from: Some(barred.clone()), ..from_alice(DatagramBody::Revoke) };
    let (read, _) = Datagram::read(&leave.write(Dialect::Compact).unwrap()).unwrap();
    assert_eq!((read.from, read.body), (Some(barred), DatagramBody::Revoke));
    for bad in [
        "",
        "alice@192.168.1.11",
        "1|chat",
        "alice@192.168.1.11|soon|chat",
        "a b@10.0.0.1|1|chat",
        "|1|chat",
        "a@1.2.3.4\n|1|chat",
    ] {
        assert_eq!(leaver(bad), None, "{bad:?}");
    }
}

#[test]
fn an_invalid_avatar_is_left_out_and_reported() {
    let text =
        "TYPE:PROFILE\nUSER_ID:a@1.2.3.4\nDISPLAY_NAME:A\nSTATUS:s\nAVATAR_TYPE:image/png\nAVATAR_DATA:R0lGODlh\n\n";
    let (read, _) = Datagram::read(text.as_bytes()).unwrap();
    let DatagramBody::Profile { profile, refused } = read.body else { panic!() };
    assert_eq!((profile.avatar, refused), (None, Some(InvalidAvatar::NotAPicture)));
}

#[test]
fn an_invalid_datagram_is_not_parsed() {
    for bad in [
        "",
        "\n\n",
        "TYPE:DANCE\nUSER_ID:a@1.2.3.4\n\n",
        "TYPE:POST\nCONTENT:hi\n\n",
        "TYPE:POST\nUSER_ID:a b\nCONTENT:hi\n\n",
        "TYPE:FOLLOW\nFROM:a@1.2.3.4\n\n",
        "TYPE:FOLLOW\nTO:a@1.2.3.4\n\n",
        "TYPE:REVOKE\nUSER_ID:a@1.2.3.4\n\n",
        "TYPE:POST\n\nUSER_ID:a@1.2.3.4\nCONTENT:behind the end\n\n",
    ] {
        assert_eq!(Datagram::read(bad.as_bytes()), None, "{bad:?}");
    }
    assert_eq!(Datagram::read(b"TYPE:POST\nUSER_ID:a@1.2.3.4\nCONTENT:\xff\n\n"), None);
    let long = from_alice(DatagramBody::Post("x".repeat(MAX_DATAGRAM_BYTES)));
    assert_eq!(long.write(Dialect::Compact), None);
}

fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.trim().to_owned())
}

fn body() -> impl Strategy<Value = DatagramBody> {
    let user = "[a-z]{1,9}@10\\.0\\.0\\.[1-9]".prop_map(|text: String| LanUserId::parse(&text).unwrap());
    prop_oneof![
        (1u16..).prop_map(|port| DatagramBody::Discovery { port }),
        text().prop_map(DatagramBody::Post),
        (user.clone(), text()).prop_map(|(to, text)| DatagramBody::Direct { to, text }),
        Just(DatagramBody::ListRequest),
        prop::collection::vec(user, 0..9).prop_map(DatagramBody::ListResponse),
        Just(DatagramBody::Ping),
    ]
}

proptest! {
    #[test]
    fn every_datagram_round_trips_in_its_dialect(body in body(), id in any::<u64>(), spaced in any::<bool>()) {
        let dialect = if spaced { Dialect::Spaced } else { Dialect::Compact };
        let datagram = Datagram { id: Some(id), ..from_alice(body) };
        let bytes = datagram.write(dialect).unwrap();
        let (read, found) = Datagram::read(&bytes).unwrap();
        prop_assert_eq!(found, dialect);
        prop_assert_eq!(read.from, datagram.from);
        match (read.body, datagram.body) {
            (DatagramBody::Post(read), DatagramBody::Post(text)) | (DatagramBody::Direct { text: read, .. }, DatagramBody::Direct { text, .. }) => {
                // Line breaks are read as spaces, and spaces at both ends are removed.
                let expected: String = text.chars().map(|c| if is_line_break(c) { ' ' } else { c }).collect();
                prop_assert_eq!(read, expected.trim());
            }
            (read, body) => prop_assert_eq!(read, body),
        }
    }

    #[test]
    fn random_bytes_never_panic(noise in any::<Vec<u8>>(), lines in "((TYPE|USER_ID|PORT|CONTENT|FROM|PEERS|AVATAR_DATA): ?.{0,9}\n){0,9}") {
        let _ = Datagram::read(&noise);
        let _ = Datagram::read(lines.as_bytes());
    }
}

#[test]
fn an_announcement_without_a_usable_port_is_a_sign_of_life() {
    for port in ["", "PORT:\n", "PORT:0\n", "PORT:65536\n", "PORT:x\n"] {
        let text = format!("TYPE:PEER_DISCOVERY\nUSER_ID:al@10.0.0.1\n{port}TIMESTAMP:1\n\n");
        let (datagram, _) = Datagram::read(text.as_bytes()).expect("an announcement");
        assert_eq!((datagram.from, datagram.body), (LanUserId::parse("al@10.0.0.1"), DatagramBody::Ping), "{port:?}");
    }
}
