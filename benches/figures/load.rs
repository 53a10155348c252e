//! The load for all servers: requests in turn on a few connections. Each connection waits for a
//! response before its next request.

use std::net::SocketAddr;
use std::thread;

use crate::http_client::HttpConnection;

/// Sends `count` requests on `connections` connections, cycling through `requests`.
///
/// # Errors
/// A response has another status than `status`.
pub(crate) fn send(
    to: SocketAddr,
    connections: u64,
    count: u64,
    requests: &[Vec<u8>],
    status: u16,
) -> anyhow::Result<()> {
    send_on(|| HttpConnection::connect(to), connections, count, requests, status)
}

/// Like [`send`], on connections that `connect` opens.
pub(crate) fn send_on(
    connect: impl Fn() -> anyhow::Result<HttpConnection> + Sync,
    connections: u64,
    count: u64,
    requests: &[Vec<u8>],
    status: u16,
) -> anyhow::Result<()> {
    let connect = &connect;
    let each = count.div_ceil(connections);
    thread::scope(|scope| {
        let worker = |index: u64| {
            move || -> anyhow::Result<()> {
                let mut connection = connect()?;
                let first = usize::try_from(index * each)? % requests.len();
                let own_requests = requests.iter().cycle().skip(first);
                for request in own_requests.take(usize::try_from(each.min(count.saturating_sub(index * each)))?) {
                    connection.send(request)?.expect(status)?;
                }
                Ok(())
            }
        };
        let threads: Vec<_> = (0..connections).map(|index| scope.spawn(worker(index))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })
}
