//! Proof of death, kill by kill: kills a node again and again (SIGKILL) while it sends, and counts
//! what the other node reads at the end of the link.
//!
//! ```text
//! cargo run --release -p rollcall-election --example kills -- --kills 10000
//! cargo run --release -p rollcall-election --example kills -- --kills 10000 --plain
//! ```
//!
//! Every kill must be an orderly end, which is what proves a death. This process is one node. The
//! other node is a process of this program too, which ends by a kill each time.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use clap::Parser;
use rand::RngExt;
use rollcall_core::{NodeAddr, Timings};
use rollcall_election::{
    ApiOptions, BallotOptions, ClusterOptions, Election, LinkSecurity, LinkTls, LoadOptions, LoadSource,
    MAX_PAYLOAD_BYTES, NodeKeyPair, Options, Peers, Transport,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use uuid::Uuid;

/// Id of the bucket.
const CLUSTER: Uuid = Uuid::from_u128(1);

/// Longest wait for a link, and for its end.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time that the node sends before it is killed, in milliseconds.
const MAX_LIFE_MS: u64 = 20;

/// Counts what the other node reads when a node is killed.
#[derive(Debug, Parser)]
struct Args {
    /// Number of kills
    #[arg(long, default_value_t = 1000)]
    kills: usize,

    /// Use links without TLS
    #[arg(long)]
    plain: bool,

    /// Be the node that is killed: the directory with the key pair, and both addresses
    #[arg(long, hide = true, num_args = 3)]
    victim: Option<Vec<String>>,
}

/// Sends the ends of incoming links, as the log names them.
struct LinkEnds(Sender<String>);

struct EndField(Option<String>, bool);

impl Visit for EndField {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.1 = format!("{value:?}") == "incoming link ended",
            "end" => self.0 = Some(format!("{value:?}")),
            _ => {}
        }
    }
}

impl Subscriber for LinkEnds {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG && metadata.target().starts_with("rollcall_election")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = EndField(None, false);
        event.record(&mut fields);
        if let EndField(Some(end), true) = fields {
            let _ = self.0.send(end);
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Runtime::new().expect("threads for the runtime");
    match args.victim {
        Some(words) => runtime.block_on(send_for_ever(Path::new(&words[0]), &words[1], &words[2], args.plain)),
        None => runtime.block_on(kill(args.kills, args.plain)),
    }
}

/// One of the two nodes.
fn start(dir: &Path, own: &str, other: &str, plain: bool) -> (Election, Transport) {
    let [me, other]: [NodeAddr; 2] = [own, other].map(|addr| addr.parse().expect("an address"));
    let read = |name: &str| std::fs::read(dir.join(name)).expect("the file of the pair");
    let pair = NodeKeyPair::from_der(read("certificate"), read("key"));
    let tls = LinkTls::pinned(CLUSTER, &pair, [pair.clone()]).expect("a valid pair");
    let ballot_dir = dir.join(own);
    std::fs::create_dir_all(&ballot_dir).expect("the directory is ours");
    let options = Options {
        cluster: ClusterOptions {
            peers: Peers::new(vec![me, other], me).expect("a member"),
            id: CLUSTER,
            timings: Timings {
                heartbeat_interval_ms: 1000,
                election_timeout_min_ms: 3000,
                election_timeout_max_ms: 5000,
                leader_term_ms: 10_000,
                net_timeout_ms: 2000,
                election_retry_ms: 100,
            },
            security: if plain { LinkSecurity::Plain } else { LinkSecurity::Tls(watch::channel(Arc::new(tls)).1) },
            key: None,
        },
        api: ApiOptions { url: "http://127.0.0.1:3000".into(), port: 3000 },
        trust_end_of_stream: true,
        load: LoadOptions { source: LoadSource::File("/nonexistent".into()), refresh_ms: 1000 },
        ballot: BallotOptions { dir: ballot_dir, lock: None, first_start: true },
        heartbeat_tag: watch::channel(0).1,
    };
    let listener = TcpListener::bind(me.socket_addr()).expect("the address is free");
    Election::start(listener, options).expect("the election starts")
}

/// The node that is killed: sends payloads of all sizes, as fast as the link takes them.
async fn send_for_ever(dir: &Path, own: &str, other: &str, plain: bool) -> ExitCode {
    let (_election, transport) = start(dir, own, other, plain);
    let to = (0..2).map(rollcall_election::NodeId).find(|node| *node != transport.me()).expect("two nodes");
    loop {
        let size = random(1..MAX_PAYLOAD_BYTES as u64);
        let payload = vec![7; usize::try_from(size).expect("a size")];
        if !transport.send(to, payload.into()) {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }
}

/// The node that lives.
async fn kill(kills: usize, plain: bool) -> ExitCode {
    let (sender, ends) = channel();
    tracing::subscriber::set_global_default(LinkEnds(sender)).expect("the first one");
    let dir = tempfile::tempdir().expect("a directory");
    let pair = NodeKeyPair::generate(CLUSTER).expect("a pair");
    std::fs::write(dir.path().join("certificate"), pair.certificate_der()).expect("the directory is ours");
    std::fs::write(dir.path().join("key"), pair.reveal_private_key_der()).expect("the directory is ours");
    let [own, other] = [free_addr(), free_addr()];
    let (election, mut transport) = start(dir.path(), &own, &other, plain);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let started = Instant::now();
    for number in 1..=kills {
        let mut victim = spawn_victim(dir.path(), &other, &own, plain);
        let end = one_kill(&mut victim, &mut transport, &ends).await;
        *counts.entry(end).or_default() += 1;
        if number % 500 == 0 || number == kills {
            println!("{number} kills in {} s: {counts:?}", started.elapsed().as_secs());
        }
    }
    election.stop().await;
    if counts.keys().all(|end| end == "Orderly") { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn spawn_victim(dir: &Path, own: &str, other: &str, plain: bool) -> Child {
    let program: PathBuf = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    command.arg("--victim").arg(dir).args([own, other]).stdin(Stdio::null());
    if plain {
        command.arg("--plain");
    }
    command.spawn().expect("this program starts again")
}

/// Waits until the node sends, kills it at a random moment, and returns how its link ended.
async fn one_kill(victim: &mut Child, transport: &mut Transport, ends: &Receiver<String>) -> String {
    while ends.try_recv().is_ok() {}
    if timeout(TIMEOUT, transport.receive()).await.is_err() {
        let _ = victim.kill();
        let _ = victim.wait();
        return "no link".to_owned();
    }
    let life = Duration::from_micros(random(0..MAX_LIFE_MS * 1000));
    // Received payloads must not wait, or the link would be full at each kill.
    let _ = timeout(life, async { while transport.receive().await.is_some() {} }).await;
    victim.kill().expect("the process runs");
    victim.wait().expect("it was killed");
    let end = timeout(TIMEOUT, async {
        loop {
            match ends.try_recv() {
                Ok(end) => break end,
                Err(_) => tokio::time::sleep(Duration::from_micros(200)).await,
            }
        }
    });
    let end = end.await.unwrap_or_else(|_| "no end".to_owned());
    // A payload of the dead node must not count as the first one of the next node.
    while timeout(Duration::from_millis(1), transport.receive()).await.is_ok() {}
    end
}

/// An address of this machine with a port below the ephemeral ones, so that it stays free.
fn free_addr() -> String {
    loop {
        let addr = format!("127.0.0.1:{}", random(12_000..32_000));
        if TcpListener::bind(&addr).is_ok() {
            return addr;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement may use real randomness")]
fn random(range: std::ops::Range<u64>) -> u64 {
    rand::rng().random_range(range)
}
