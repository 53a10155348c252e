//! The same load for every server: requests in turn on a few connections, each of which waits for its answer.

use std::net::SocketAddr;
use std::thread;

use crate::http_client::HttpConnection;

/// Sends `count` requests, those of `requests` in turn, on `connections` connections at once; each must be answered with
/// `status`.
pub(crate) fn send(
    to: SocketAddr,
    connections: u64,
    count: u64,
    requests: &[Vec<u8>],
    status: u16,
) -> anyhow::Result<()> {
    let each = count.div_ceil(connections);
    thread::scope(|scope| {
        let share = |index: u64| {
            move || -> anyhow::Result<()> {
                let mut connection = HttpConnection::connect(to)?;
                let first = usize::try_from(index * each)? % requests.len();
                let own_requests = requests.iter().cycle().skip(first);
                for request in own_requests.take(usize::try_from(each.min(count.saturating_sub(index * each)))?) {
                    connection.send(request)?.expect(status)?;
                }
                Ok(())
            }
        };
        let threads: Vec<_> = (0..connections).map(|index| scope.spawn(share(index))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })
}
