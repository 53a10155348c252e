//! Clients by the thousand that go on sending heartbeats, whoever leads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::rounds::now;
use crate::users;
use crate::wire::Wire;

/// How often each client sends a heartbeat: what a node with the default TTL advises.
pub(crate) const PERIOD: Duration = Duration::from_secs(10);

/// The threads that send them; each has one connection.
const THREADS: u64 = 2;

/// Between two tries when no node serves.
const AGAIN: Duration = Duration::from_millis(5);

/// The clients. They stop when this value goes.
#[derive(Debug)]
pub(crate) struct Beater {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    nodes: Vec<SocketAddr>,
    /// The place of the node that served last.
    leader: AtomicUsize,
    clients: u64,
    sent: AtomicU64,
    stopped: AtomicBool,
}

impl Beater {
    /// Starts them; all send within the first period.
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

    /// Stops them; fails if they could not go on to the end.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.threads.drain(..).try_for_each(|thread| thread.join().expect("it does not panic"))?;
        anyhow::ensure!(
            self.shared.sent.load(Ordering::Relaxed) >= self.shared.clients,
            "hardly any heartbeat was sent"
        );
        Ok(())
    }
}

impl Drop for Beater {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// Sends the heartbeats of every `THREADS`th client from `first` on, evenly over each period.
    fn run(&self, first: u64) -> anyhow::Result<()> {
        let mine: Vec<Vec<u8>> =
            (first..self.clients).step_by(usize::try_from(THREADS)?).map(users::heartbeat).collect();
        let mut wire = None;
        let mut began = now();
        while !self.is_stopped() {
            for (turn, beat) in mine.iter().enumerate() {
                wait_until(began + PERIOD.mul_f64(part(turn, mine.len())));
                self.deliver(beat, &mut wire);
                if self.is_stopped() {
                    return Ok(());
                }
            }
            // Who is late does not hurry: a client sends its next heartbeat a period after the last one.
            began = (began + PERIOD).max(now());
        }
        Ok(())
    }

    /// Sends a heartbeat until it is accepted, to one node after the other.
    fn deliver(&self, beat: &[u8], wire: &mut Option<Wire>) {
        while !self.is_stopped() {
            let node = self.leader.load(Ordering::Relaxed);
            if wire.is_none() {
                *wire = Wire::connect(self.nodes[node]).ok();
            }
            if wire.as_mut().and_then(|wire| wire.ask(beat).ok()).is_some_and(|answer| answer.status == 200) {
                self.sent.fetch_add(1, Ordering::Relaxed);
                return;
            }
            *wire = None;
            let next = (node + 1) % self.nodes.len();
            // Another thread may have gone on already.
            let _ = self.leader.compare_exchange(node, next, Ordering::Relaxed, Ordering::Relaxed);
            sleep(AGAIN);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of clients are far below 2^52")]
fn part(turn: usize, of: usize) -> f64 {
    turn as f64 / of as f64
}

fn wait_until(then: Instant) {
    let left = then.saturating_duration_since(now());
    // Sleeps shorter than this only cost time.
    if left > Duration::from_millis(1) {
        sleep(left);
    }
}
