//! Tests of the frame codec.

mod golden;

use proptest::prelude::*;

use super::*;
use crate::wire::hello::tests::hello;
use rollcall_core::BootMs;

#[test]
fn an_encoded_frame_decodes_to_the_same_frame() {
    let envelope = Envelope {
        cluster: Uuid::from_u128(1),
        from: "127.0.0.1:8081".parse().unwrap(),
        boot: BootId(u64::MAX),
        term: Term(u64::MAX),
        load: Load::NEUTRAL,
        role: MemberRole::Leader,
        message: Message::Heartbeat { term: Term(3), sent_at: BootMs(9) },
        leader_url: None,
        tag: 3,
        members: Vec::new(),
    };
    let payload = Frame::Payload(Bytes::from_static(b"\0{}"));
    for frame in [Frame::Hello(Box::new(hello())), Frame::Message(Box::new(envelope)), Frame::Bye, payload] {
        assert_eq!(Frame::decode(&frame.encode()).unwrap(), frame);
    }
    assert!(Frame::Hello(Box::new(hello())).encode().len() < MAX_HELLO_BYTES);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Frame::decode(&bytes);
    }
}
