//! Bytes that a node writes on a link that it has accepted: its greeting and nothing else.

use std::task::ready;

use bytes::Bytes;
use socket2::SockRef;

use super::*;
use crate::process::NodeId;

/// A connection that reads one byte at a time. So bytes after the present TLS record stay in the
/// kernel, where a test can see them.
struct OneByte(TcpStream);

impl AsyncRead for OneByte {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut one))?;
        buffer.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OneByte {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Data that the dialler never reads would turn the end of a killed process into a reset, which
/// proves no death.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_writes_nothing_on_an_accepted_link_after_its_hello() {
    let (mut cluster, leader, term) = cluster_without_a_member(|_| {}).await;
    let tcp = TcpStream::connect(cluster.peers[0].socket_addr()).await.unwrap();
    let hello = hello_of_member(&cluster, 2, (tcp.local_addr().unwrap(), tcp.peer_addr().unwrap()));
    let (pair, name) = (shared_pair(), ServerName::try_from("127.0.0.1").unwrap());
    let mut tls = connector(Some((&pair, &pair))).connect(name, OneByte(tcp)).await.expect("it has the pair");
    tls.write_all(&hello).await.unwrap();
    let answer = async {
        let mut length = [0; 4];
        tls.read_exact(&mut length).await.expect("the node answers");
        let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        tls.read_exact(&mut answer).await.expect("the answer is complete");
        answer
    };
    let answer = timeout(TIMEOUT, answer).await.expect("in time");
    assert!(matches!(Frame::decode(&answer).unwrap(), Frame::Hello(_)));
    tls.write_all(&framed(&Frame::Payload(Bytes::from_static(b"hello")))).await.unwrap();
    tls.flush().await.unwrap();
    let inbound = timeout(TIMEOUT, cluster.transports[0].receive()).await.expect("it arrives").expect("the node runs");
    assert_eq!((inbound.from.node, &inbound.payload[..]), (NodeId(2), &b"hello"[..]));
    // The end of a killed process. The node then ends the link too.
    let (OneByte(tcp), _) = tls.get_mut();
    SockRef::from(&*tcp).shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = timeout(TIMEOUT, tcp.read_to_end(&mut rest)).await.expect("the node ends the link");
    assert_eq!(rest, b"", "bytes after the greeting");
    assert_unchanged(cluster, leader, term).await;
}
