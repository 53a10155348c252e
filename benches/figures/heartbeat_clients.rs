//! Thousands of clients that send heartbeats, and follow the leader.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::comparison::now;
use crate::http_client::HttpConnection;
use crate::users;

/// Heartbeat interval of each client, as a node with the default TTL advises.
pub(crate) const PERIOD: Duration = Duration::from_secs(10);

/// Number of sending threads. Each has one connection.
const THREADS: u64 = 2;

/// Pause between two attempts while no node serves.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// The clients. Dropping the value stops them.
#[derive(Debug)]
pub(crate) struct HeartbeatClients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    nodes: Vec<SocketAddr>,
    /// Index of the node that served last.
    leader: AtomicUsize,
    clients: u64,
    sent: AtomicU64,
    stopped: AtomicBool,
}

impl HeartbeatClients {
    /// Starts the clients. All of them send within the first period.
    pub(crate) fn start(nodes: Vec<SocketAddr>, leader: usize, clients: u64) -> Self {
        let (leader, sent, stopped) = (AtomicUsize::new(leader), AtomicU64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { nodes, leader, clients, sent, stopped });
        let start = |first| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.run(first))
        };
        let threads = (0..THREADS).map(start).collect();
        Self { shared, threads }
    }

    /// Stops the clients.
    ///
    /// # Errors
    /// Fewer heartbeats than clients were accepted.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.threads.drain(..).try_for_each(|thread| thread.join().expect("it does not panic"))?;
        anyhow::ensure!(
            self.shared.sent.load(Ordering::Relaxed) >= self.shared.clients,
            "fewer heartbeats than clients were accepted"
        );
        Ok(())
    }
}

impl Drop for HeartbeatClients {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// Sends the heartbeats of every `THREADS`th client from `first` on, spread evenly over each
    /// period.
    fn run(&self, first: u64) -> anyhow::Result<()> {
        let requests: Vec<Vec<u8>> =
            (first..self.clients).step_by(usize::try_from(THREADS)?).map(users::heartbeat).collect();
        let mut connection = None;
        let mut period_start = now();
        while !self.is_stopped() {
            for (index, request) in requests.iter().enumerate() {
                wait_until(period_start + PERIOD.mul_f64(fraction(index, requests.len())));
                self.send_until_accepted(request, &mut connection);
                if self.is_stopped() {
                    return Ok(());
                }
            }
            // After a late period the clients do not send faster to catch up: the next period
            // starts now.
            period_start = (period_start + PERIOD).max(now());
        }
        Ok(())
    }

    /// Sends a heartbeat to one node after the other until it is accepted.
    fn send_until_accepted(&self, request: &[u8], connection: &mut Option<HttpConnection>) {
        while !self.is_stopped() {
            let node = self.leader.load(Ordering::Relaxed);
            if connection.is_none() {
                *connection = HttpConnection::connect(self.nodes[node]).ok();
            }
            if connection
                .as_mut()
                .and_then(|connection| connection.send(request).ok())
                .is_some_and(|answer| answer.status == 200)
            {
                self.sent.fetch_add(1, Ordering::Relaxed);
                return;
            }
            *connection = None;
            let next = (node + 1) % self.nodes.len();
            // Another thread may have changed the leader already.
            let _ = self.leader.compare_exchange(node, next, Ordering::Relaxed, Ordering::Relaxed);
            sleep(RETRY_PAUSE);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of clients are far below 2^52")]
fn fraction(index: usize, of: usize) -> f64 {
    index as f64 / of as f64
}

fn wait_until(then: Instant) {
    let left = then.saturating_duration_since(now());
    // Shorter sleeps only cost processor time.
    if left > Duration::from_millis(1) {
        sleep(left);
    }
}
