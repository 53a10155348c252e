//! The same load for every server: requests in turn on a few connections, each of which waits for its answer.

use std::net::SocketAddr;
use std::thread;

use crate::wire::Wire;

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
        let share = |connection: u64| {
            move || -> anyhow::Result<()> {
                let mut wire = Wire::connect(to)?;
                let first = usize::try_from(connection * each)? % requests.len();
                let turns = requests.iter().cycle().skip(first);
                for request in turns.take(usize::try_from(each.min(count.saturating_sub(connection * each)))?) {
                    wire.ask(request)?.expect(status)?;
                }
                Ok(())
            }
        };
        let threads: Vec<_> = (0..connections).map(|connection| scope.spawn(share(connection))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })
}
