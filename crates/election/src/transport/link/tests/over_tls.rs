//! Ends of a link over TLS, and what each of them proves.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use uuid::Uuid;

use super::*;
use crate::tls::{LinkTls, NodeKeyPair};
use crate::transport::tls_handshakes::TlsHandshakes;

/// Both ends of a link: the one that dialled, and the one that accepted.
async fn tls_pair() -> (Link, Link) {
    let cluster = Uuid::from_u128(1);
    let pair = NodeKeyPair::generate(cluster).unwrap();
    let tls = Arc::new(LinkTls::pinned(cluster, &pair, [pair.clone()]).unwrap());
    let handshakes = TlsHandshakes::new(watch::channel(tls).1, Handle::current());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let accept = async { handshakes.accept(listener.accept().await.unwrap().0).await };
    let dial = async { handshakes.connect(connect(addr, TIMEOUT).await.unwrap(), addr.ip()).await };
    let (accepted, dialled) = tokio::join!(accept, dial);
    (Link::new(dialled.unwrap(), TIMEOUT), Link::new(accepted.unwrap(), TIMEOUT))
}

/// Ends the connection as the kernel ends that of a killed process: with FIN, and without
/// `close_notify`.
fn end_as_a_killed_process(link: &Link) {
    SockRef::from(link.framed.get_ref().tcp()).shutdown(std::net::Shutdown::Write).unwrap();
}

async fn end_of(link: &mut Link) -> LinkEnd {
    timeout(TIMEOUT * 50, link.read()).await.expect("in time").expect_err("the link ends")
}

#[tokio::test]
async fn frames_arrive_and_an_end_without_close_notify_is_orderly() {
    let (mut dialled, mut accepted) = tls_pair().await;
    dialled.write(Frame::Payload(Bytes::from_static(b"hello")).encode()).await.unwrap();
    end_as_a_killed_process(&dialled);
    assert_eq!(accepted.read().await.unwrap(), Frame::Payload(Bytes::from_static(b"hello")));
    assert_eq!(end_of(&mut accepted).await, LinkEnd::Orderly);
}

#[tokio::test]
async fn an_end_within_a_frame_is_orderly() {
    let (mut dialled, mut accepted) = tls_pair().await;
    let stream = dialled.framed.get_mut();
    stream.write_all(&[0, 0, 0, 9, b'"']).await.unwrap();
    stream.flush().await.unwrap();
    end_as_a_killed_process(&dialled);
    assert_eq!(end_of(&mut accepted).await, LinkEnd::Orderly);
}

#[tokio::test]
async fn an_end_within_a_record_is_orderly() {
    let (dialled, mut accepted) = tls_pair().await;
    let tcp = dialled.framed.get_ref().tcp();
    tcp.writable().await.unwrap();
    assert_eq!(tcp.try_write(&[0x17, 3, 3, 0x40, 0, 1, 2]).unwrap(), 7);
    end_as_a_killed_process(&dialled);
    assert_eq!(end_of(&mut accepted).await, LinkEnd::Orderly);
}

#[tokio::test]
async fn close_notify_without_bye_is_a_broken_link() {
    let (mut dialled, mut accepted) = tls_pair().await;
    dialled.framed.get_mut().shutdown().await.unwrap();
    assert_eq!(end_of(&mut accepted).await, LinkEnd::Broken);
}

#[tokio::test]
async fn a_dropped_link_over_tls_is_reset() {
    let (dialled, mut accepted) = tls_pair().await;
    drop(dialled);
    assert_eq!(end_of(&mut accepted).await, LinkEnd::Broken);
}

#[tokio::test]
async fn a_closed_link_over_tls_sends_bye() {
    let (dialled, mut accepted) = tls_pair().await;
    dialled.close_with_bye().await;
    assert_eq!(end_of(&mut accepted).await, LinkEnd::Bye);
}

#[tokio::test]
async fn forged_bytes_are_a_broken_link() {
    let (dialled, mut accepted) = tls_pair().await;
    let tcp = dialled.framed.get_ref().tcp();
    tcp.writable().await.unwrap();
    tcp.try_write(&[&[0x17, 3, 3, 0, 40][..], &[7; 40]].concat()).unwrap();
    assert_eq!(end_of(&mut accepted).await, LinkEnd::Broken);
}

/// Data that a process has not read turns the end of a killed process into a reset.
#[tokio::test]
async fn the_acceptor_writes_nothing_after_the_tls_handshake() {
    let (mut dialled, mut accepted) = tls_pair().await;
    dialled.write(Frame::Payload(Bytes::from_static(b"hello")).encode()).await.unwrap();
    accepted.read().await.unwrap();
    let error = dialled.framed.get_ref().tcp().try_read(&mut [0; 64]).expect_err("nothing to read");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn both_ends_have_the_same_channel_binding_and_another_connection_has_another() {
    let (dialled, accepted) = tls_pair().await;
    let binding = dialled.channel_binding().unwrap();
    assert_eq!(binding, accepted.channel_binding().unwrap());
    assert_ne!(binding, tls_pair().await.0.channel_binding().unwrap());
}
