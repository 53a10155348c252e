//! A chat peer that a measurement controls: a process with everything of `rollcall peer` except the
//! console. It reads commands from standard input and writes reports to standard output, as lines
//! of JSON.

use std::collections::BTreeMap;
use std::io::{BufRead, stdin};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rollcall::config;
use rollcall_chat::engine::Notice;
use rollcall_chat::{Peer, PeerRequest};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// First argument of a process that runs a controlled peer.
pub(crate) const COMMAND: &str = "chatter";

/// Time without a message after which missing messages count as lost.
pub(crate) const SILENCE_TIMEOUT: Duration = Duration::from_secs(3);

/// Time after the last expected message in which duplicates are still counted.
pub(crate) const DUPLICATE_WAIT: Duration = Duration::from_millis(300);

/// Largest number of notices read at once, and of ticks that wait.
const BATCH: usize = 256;

/// A command of the measurement to a peer: one line of JSON. The names in JSON never change, so
/// that two builds of the benchmark understand each other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum ChatCommand {
    /// Report the number of linked peers.
    Links,
    /// Send messages at a steady rate, and receive those of the other peers.
    #[serde(rename = "Talk")]
    Send {
        /// Messages to send.
        #[serde(rename = "say")]
        messages: u64,
        /// Messages to send in a second.
        #[serde(rename = "a_second")]
        per_second: u64,
        /// Delay before the first message, in microseconds.
        #[serde(rename = "after_us")]
        start_after_us: u64,
        /// Length of each message, in bytes.
        bytes: usize,
        /// Messages to receive.
        #[serde(rename = "hear")]
        expected: u64,
    },
}

/// The report of a peer after a command: one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ChatReport {
    /// The peer listens at this address.
    #[serde(rename = "Listens")]
    Listening(String),
    /// The number of linked peers.
    Links(usize),
    /// The messages that the peer received.
    #[serde(rename = "Heard")]
    Deliveries(Deliveries),
}

/// The messages that a peer received, with their delays.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Deliveries {
    /// Different messages.
    pub(crate) messages: u64,
    /// Messages that had been received before.
    #[serde(rename = "doubles")]
    pub(crate) duplicates: u64,
    /// Number of messages per delay. The delay is the time from the sending of a message until its
    /// notice, in microseconds.
    pub(crate) delays_us: BTreeMap<u128, u64>,
}

/// Runs a controlled peer until standard input ends. `peers` are the addresses that it dials,
/// separated by commas.
pub(crate) fn run(name: &str, peers: &str) -> anyhow::Result<()> {
    let values = [("name", name), ("listen_addr", "127.0.0.1:0"), ("peers", peers), ("lan", "false")];
    let values = values.map(|(key, value)| (key, value.to_owned()));
    let settings = config::chat::load(None, &|_| None, &values)?.settings;
    let name = name.to_owned();
    // One thread and a spawned task, as in `rollcall peer`.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.spawn(async move {
        let mut peer = Peer::start(settings).await?;
        print(&ChatReport::Listening(peer.mesh_addr().to_string()))?;
        let mut commands = commands();
        while let Some(command) = commands.recv().await {
            let report = match command {
                ChatCommand::Links => ChatReport::Links(link_count(&peer).await?),
                ChatCommand::Send { messages, per_second, start_after_us, bytes, expected } => {
                    let requests = peer.requests();
                    let between = Duration::from_secs(1) / u32::try_from(per_second)?;
                    let ticks = ticks(Duration::from_micros(start_after_us), between);
                    let (deliveries, sent) = tokio::join!(
                        count_deliveries(&mut peer, expected),
                        send_messages(requests, &name, messages, ticks, bytes)
                    );
                    sent?;
                    ChatReport::Deliveries(deliveries)
                }
            };
            print(&report)?;
        }
        peer.stop().await;
        anyhow::Ok(())
    });
    runtime.block_on(ended)?
}

pub(crate) fn print(report: &ChatReport) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}

pub(crate) fn commands() -> mpsc::Receiver<ChatCommand> {
    let (sender, commands) = mpsc::channel(1);
    // A read of standard input cannot be cancelled, so it has a thread that ends with the process.
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            let Ok(command) = serde_json::from_str(&line) else { return };
            if sender.blocking_send(command).is_err() {
                return;
            }
        }
    });
    commands
}

async fn link_count(peer: &Peer) -> anyhow::Result<usize> {
    let (sender, answer) = oneshot::channel();
    peer.requests().send(PeerRequest::ListPeers(sender)).await?;
    Ok(answer.await?.len())
}

async fn send_messages(
    requests: mpsc::Sender<PeerRequest>,
    name: &str,
    messages: u64,
    mut ticks: mpsc::Receiver<()>,
    bytes: usize,
) -> anyhow::Result<()> {
    let padding = ".".repeat(bytes);
    for number in 0..messages {
        ticks.recv().await.context("the ticks have ended")?;
        requests.send(PeerRequest::Post(message_text(name, number, bytes, &padding))).await?;
    }
    Ok(())
}

/// Ticks at which messages are sent, until the receiver is dropped. They come from a thread: a
/// timer of the runtime has a resolution of 1 ms, so messages would come in bursts.
pub(crate) fn ticks(first: Duration, between: Duration) -> mpsc::Receiver<()> {
    let (sender, ticks) = mpsc::channel(BATCH);
    thread::spawn(move || {
        let mut next = now() + first;
        loop {
            thread::sleep(next.saturating_sub(now()));
            next += between;
            if sender.blocking_send(()).is_err() {
                return;
            }
        }
    });
    ticks
}

async fn count_deliveries(peer: &mut Peer, expected: u64) -> Deliveries {
    let (mut log, mut notices) = (DeliveryLog::default(), Vec::new());
    let mut deadline = Instant::now() + SILENCE_TIMEOUT;
    let mut timer = std::pin::pin!(sleep_until(deadline));
    loop {
        tokio::select! {
            count = peer.notices(&mut notices, BATCH) => if count == 0 {
                break;
            },
            () = &mut timer => {
                if Instant::now() >= deadline {
                    break;
                }
                // A message arrived meanwhile. Resetting the timer for each message would cost more
                // than the message.
                timer.as_mut().reset(deadline);
            },
        }
        let received_at = now();
        for notice in notices.drain(..) {
            if let Notice::Post { text, .. } = notice {
                log.record(&text, received_at);
            }
        }
        if log.deliveries.messages < expected {
            deadline = Instant::now() + SILENCE_TIMEOUT;
        } else {
            deadline = Instant::now() + DUPLICATE_WAIT;
            timer.as_mut().reset(deadline);
        }
    }
    log.deliveries
}

/// Counts of the received messages. Each message is recognised by its sender and number.
#[derive(Default)]
pub(crate) struct DeliveryLog {
    pub(crate) deliveries: Deliveries,
    /// For each sender: whether the message with this number was received.
    received: BTreeMap<String, Vec<bool>>,
}

impl DeliveryLog {
    pub(crate) fn record(&mut self, text: &str, received_at: Duration) {
        let Some((name, number, sent_at_ns)) = parse_message(text) else { return };
        if !self.received.contains_key(name) {
            self.received.insert(name.to_owned(), Vec::new());
        }
        let Some(numbers) = self.received.get_mut(name) else { return };
        numbers.resize(numbers.len().max(number + 1), false);
        if std::mem::replace(&mut numbers[number], true) {
            self.deliveries.duplicates += 1;
        } else {
            self.deliveries.messages += 1;
            let delay = received_at.saturating_sub(Duration::from_nanos(sent_at_ns));
            *self.deliveries.delays_us.entry(delay.as_micros()).or_default() += 1;
        }
    }
}

/// Text of a message: sender, number and send time in nanoseconds, padded to `bytes` bytes.
pub(crate) fn message_text(name: &str, number: u64, bytes: usize, padding: &str) -> String {
    let mut text = format!("{name} {number} {} ", now().as_nanos());
    text.push_str(&padding[text.len().min(bytes)..]);
    text
}

/// Sender, number and send time (in nanoseconds) of a message.
fn parse_message(text: &str) -> Option<(&str, usize, u64)> {
    let mut words = text.split(' ');
    Some((words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// The monotonic time, which all processes of the machine share.
pub(crate) fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).expect("the monotonic clock is not negative")
}

impl ChatReport {
    /// Parses one line.
    pub(crate) fn read(line: &str) -> anyhow::Result<Self> {
        serde_json::from_str(line).with_context(|| format!("not a report of a peer: {line:?}"))
    }
}
