//! Tests of a link over plain TCP and over TLS.

mod over_tls;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const TIMEOUT: Duration = Duration::from_millis(200);

async fn pair() -> (Link, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(connect(addr, TIMEOUT), listener.accept());
    (plain_link(dialled.unwrap()), accepted.unwrap().0)
}

fn plain_link(tcp: TcpStream) -> Link {
    Link::new(LinkStream::Plain(tcp), TIMEOUT)
}

#[tokio::test]
async fn a_dropped_link_is_reset() {
    let (link, mut other) = pair().await;
    drop(link);
    let error = other.read(&mut [0; 8]).await.expect_err("no orderly end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_is_a_broken_link() {
    let (link, other) = pair().await;
    drop(link);
    assert_eq!(plain_link(other).read().await.expect_err("the link ends"), LinkEnd::Broken);
}

#[tokio::test]
async fn the_linger_option_is_not_set_before_a_link_is_dropped() {
    let (link, _other) = pair().await;
    assert_eq!(SockRef::from(link.framed.get_ref().tcp()).linger().unwrap(), None);
}

#[tokio::test]
async fn a_closed_link_sends_bye() {
    let (link, other) = pair().await;
    link.close_with_bye().await;
    assert_eq!(plain_link(other).read().await.expect_err("ended"), LinkEnd::Bye);
}

#[tokio::test]
async fn a_frame_follows_its_length_in_four_bytes_big_endian() {
    let (mut link, mut other) = pair().await;
    link.write(Frame::Bye.encode()).await.unwrap();
    let mut bytes = [0; 9];
    other.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"\0\0\0\x05\"Bye\"");
}

#[tokio::test]
async fn a_silent_link_is_valid_but_a_partial_frame_times_out() {
    let (mut link, mut other) = pair().await;
    let silent = timeout(TIMEOUT * 3, link.read()).await;
    assert!(silent.is_err(), "still waiting");
    other.write_all(&[0, 0, 0, 9, b'"']).await.unwrap();
    assert_eq!(link.read().await.expect_err("the link ends"), LinkEnd::Broken);
}

/// A killed process may have written a part of a frame.
#[tokio::test]
async fn an_end_of_stream_is_orderly_between_frames_and_within_a_frame() {
    let frame = [0, 0, 0, 5, b'"', b'B', b'y', b'e', b'"'];
    for written in 0..frame.len() {
        let (mut link, mut other) = pair().await;
        other.write_all(&frame[..written]).await.unwrap();
        other.shutdown().await.unwrap();
        let end = timeout(TIMEOUT * 50, link.read()).await.expect("in time").expect_err("the link ends");
        assert_eq!(end, LinkEnd::Orderly, "after {written} bytes");
    }
}

#[tokio::test]
async fn a_reset_within_a_frame_proves_nothing() {
    let (mut link, mut other) = pair().await;
    other.write_all(&[0, 0, 0, 9, b'"']).await.unwrap();
    SockRef::from(&other).set_linger(Some(Duration::ZERO)).unwrap();
    drop(other);
    assert_eq!(link.read().await.expect_err("the link ends"), LinkEnd::Broken);
}

#[tokio::test]
async fn a_frame_with_an_excessive_length_is_rejected() {
    let (mut link, mut other) = pair().await;
    other.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    assert_eq!(link.read().await.expect_err("the link ends"), LinkEnd::Broken);
}
