//! A peer of the chat that is driven by a measurement: a process of its own with everything that `rollcall peer` has but the
//! screen. It reads wishes from its standard input, and writes what came of them, a line of JSON each.

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

/// The first argument of a process of this program that is to be such a peer.
pub(crate) const COMMAND: &str = "chatter";

/// After so long without a message, those that are missing are taken for lost.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);

/// For so long after the last message that is expected, one that comes twice would be noticed.
pub(crate) const AFTERTIME: Duration = Duration::from_millis(300);

/// Notices that are taken at once.
const BATCH: usize = 256;

/// What the measurement wants.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// The number of peers that are linked.
    Links,
    /// Say so many messages of so many bytes, so many a second, the first after so many microseconds, and hear as many as
    /// are expected.
    Talk { say: u64, a_second: u64, after_us: u64, bytes: usize, hear: u64 },
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The peer is there.
    Listens(String),
    /// So many are linked.
    Links(usize),
    /// What was heard.
    Heard(Heard),
}

/// What was heard, and how long after it was said.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Heard {
    /// Different messages.
    pub(crate) messages: u64,
    /// Messages that had been heard before.
    pub(crate) doubles: u64,
    /// How often a message took so many microseconds, from the wish to say it to the notice of it.
    pub(crate) delays_us: BTreeMap<u128, u64>,
}

/// Is such a peer until the standard input ends. `peers` are those that it dials, separated by commas.
pub(crate) fn run(name: &str, peers: &str) -> anyhow::Result<()> {
    let values = [("name", name), ("listen_addr", "127.0.0.1:0"), ("peers", peers), ("lan", "false")];
    let values = values.map(|(key, value)| (key, value.to_owned()));
    let settings = config::chat::load(None, &|_| None, &values)?;
    let name = name.to_owned();
    // The same runtime as the program's, and a task as there.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.spawn(async move {
        let mut peer = Peer::start(settings).await?;
        print(&Report::Listens(peer.mesh_addr().to_string()))?;
        let mut wishes = wishes();
        while let Some(wish) = wishes.recv().await {
            let report = match wish {
                Wish::Links => Report::Links(links(&peer).await?),
                Wish::Talk { say, a_second, after_us, bytes, hear } => {
                    let requests = peer.requests();
                    let between = Duration::from_secs(1) / u32::try_from(a_second)?;
                    let beats = beats(Duration::from_micros(after_us), between);
                    let (heard, talked) =
                        tokio::join!(listen(&mut peer, hear), talk(requests, &name, say, beats, bytes));
                    talked?;
                    Report::Heard(heard)
                }
            };
            print(&report)?;
        }
        peer.stop().await;
        anyhow::Ok(())
    });
    runtime.block_on(ended)?
}

pub(crate) fn print(report: &Report) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}

pub(crate) fn wishes() -> mpsc::Receiver<Wish> {
    let (sender, wishes) = mpsc::channel(1);
    // A read of standard input cannot be interrupted, so it has a thread that ends with the process.
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            let Ok(wish) = serde_json::from_str(&line) else { return };
            if sender.blocking_send(wish).is_err() {
                return;
            }
        }
    });
    wishes
}

async fn links(peer: &Peer) -> anyhow::Result<usize> {
    let (sender, answer) = oneshot::channel();
    peer.requests().send(PeerRequest::ListPeers(sender)).await?;
    Ok(answer.await?.len())
}

async fn talk(
    requests: mpsc::Sender<PeerRequest>,
    name: &str,
    say: u64,
    mut beats: mpsc::Receiver<()>,
    bytes: usize,
) -> anyhow::Result<()> {
    let filling = ".".repeat(bytes);
    for number in 0..say {
        beats.recv().await.context("the beats have ended")?;
        requests.send(PeerRequest::Post(text(name, number, bytes, &filling))).await?;
    }
    Ok(())
}

/// The moments to speak at, until nobody wants to know them. They come from a thread: a timer of the runtime's is good to a
/// millisecond only, so that what is said would come in bursts.
pub(crate) fn beats(first: Duration, between: Duration) -> mpsc::Receiver<()> {
    let (sender, beats) = mpsc::channel(BATCH);
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
    beats
}

async fn listen(peer: &mut Peer, hear: u64) -> Heard {
    let (mut ear, mut notices) = (Ear::default(), Vec::new());
    let mut until = Instant::now() + SILENCE;
    let mut silence = std::pin::pin!(sleep_until(until));
    loop {
        tokio::select! {
            count = peer.notices(&mut notices, BATCH) => if count == 0 {
                break;
            },
            () = &mut silence => {
                if Instant::now() >= until {
                    break;
                }
                // Something came meanwhile. A timer that is set anew for each message would cost more than the message.
                silence.as_mut().reset(until);
            },
        }
        let heard_at = now();
        for notice in notices.drain(..) {
            if let Notice::Post { text, .. } = notice {
                ear.hears(&text, heard_at);
            }
        }
        if ear.heard.messages < hear {
            until = Instant::now() + SILENCE;
        } else {
            until = Instant::now() + AFTERTIME;
            silence.as_mut().reset(until);
        }
    }
    ear.heard
}

/// What was heard, and which messages that were.
#[derive(Default)]
pub(crate) struct Ear {
    pub(crate) heard: Heard,
    known: BTreeMap<String, Vec<bool>>,
}

impl Ear {
    pub(crate) fn hears(&mut self, text: &str, heard_at: Duration) {
        let Some((name, number, said_at_ns)) = read(text) else { return };
        if !self.known.contains_key(name) {
            self.known.insert(name.to_owned(), Vec::new());
        }
        let Some(numbers) = self.known.get_mut(name) else { return };
        numbers.resize(numbers.len().max(number + 1), false);
        if std::mem::replace(&mut numbers[number], true) {
            self.heard.doubles += 1;
        } else {
            self.heard.messages += 1;
            let delay = heard_at.saturating_sub(Duration::from_nanos(said_at_ns));
            *self.heard.delays_us.entry(delay.as_micros()).or_default() += 1;
        }
    }
}

/// What is said: by whom, the how manieth it is, and when; filled up to so many bytes.
pub(crate) fn text(name: &str, number: u64, bytes: usize, filling: &str) -> String {
    let mut text = format!("{name} {number} {} ", now().as_nanos());
    text.push_str(&filling[text.len().min(bytes)..]);
    text
}

/// Who said it, the how manieth it is, and when it was said.
fn read(text: &str) -> Option<(&str, usize, u64)> {
    let mut words = text.split(' ');
    Some((words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Now on a clock that all processes share.
pub(crate) fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).expect("it began before the machine did")
}

impl Report {
    /// What a line says.
    pub(crate) fn read(line: &str) -> anyhow::Result<Self> {
        serde_json::from_str(line).with_context(|| format!("a peer said {line:?}"))
    }
}
