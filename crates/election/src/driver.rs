//! Runs the machine: a thread with a runtime of its own, so that no other work of the process can delay a heartbeat.
//! It passes events in and performs the actions that come out; it holds no policy.

mod operator_view;

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::ballot::BallotFile;
use crate::ballot_writer;
use crate::load::{self, Sampler};
use crate::machine::{Action, Draw, Event, Machine, Rules};
use crate::options::Options;
use crate::process::{Ballot, BootId, NodeId, Process};
use crate::role::{Leader, Member, Role, Standing};
use crate::transport;
use crate::transport::carrier::Hold;
use crate::transport::greeter::Greeter;
use crate::transport::link::End;
use crate::transport::network::News;
use crate::wire::frame::{Envelope, Frame};
use crate::wire::message::Message;
use operator_view::OperatorView;
use rollcall_core::clock::boot_now;
use rollcall_core::{BootMs, Term};

/// News that wait for the machine; more wait in the kernel.
const NEWS: usize = 256;
/// The machine is woken at least this often: timers run on a clock that stands still while the computer sleeps.
const LONGEST_SLEEP_MS: u64 = 1000;
/// How long a process that ends waits for its last words to be written.
const FAREWELL: Duration = Duration::from_millis(500);

/// What the rest of the process tells the election.
pub(crate) struct Signals {
    /// Give the lease up.
    pub(crate) resign: CancellationToken,
    /// End.
    pub(crate) stop: CancellationToken,
    /// What was under way is done.
    pub(crate) drained: Arc<Notify>,
}

/// What the rest of the process sees of the election.
pub(crate) struct Outputs {
    pub(crate) role: watch::Sender<Role>,
    pub(crate) members: watch::Sender<Vec<Member>>,
    pub(crate) leader_note: watch::Sender<u64>,
    pub(crate) doubled: watch::Sender<Option<String>>,
}

/// The links to the other nodes.
struct Links {
    /// The process at the other end of each.
    processes: HashMap<NodeId, BootId>,
    outboxes: HashMap<NodeId, mpsc::Sender<Bytes>>,
}

/// What the part of the program that sends cargo tells the election, and is told.
struct CargoStatus {
    /// Whether the rest of this process could take over from a leader that can choose its successor.
    may_take_over: watch::Receiver<bool>,
    saved_term: watch::Sender<Option<Term>>,
}

/// What the election thread holds.
struct Driver {
    machine: Machine,
    greeter: Arc<Greeter>,
    links: Links,
    ballots: SyncSender<Ballot>,
    outputs: Outputs,
    /// This node's number for its followers.
    note: watch::Receiver<u64>,
    cargo: CargoStatus,
    view: OperatorView,
}

/// What the election thread runs, until it is stopped. `ballot`: what was found in the file.
pub(crate) async fn run(
    listener: TcpListener,
    options: Options,
    (file, ballot): (BallotFile, Option<Ballot>),
    outputs: Outputs,
    hold: Hold,
    signals: Signals,
) {
    let tasks = TaskTracker::new();
    // The links outlive the wish to stop: until there is a successor, or the resignation is out, they are needed.
    let unlink = CancellationToken::new();
    let (ballots, mut saved) = ballot_writer::start(file);
    let (load_in, mut load) = watch::channel(None);
    let sampler = Sampler::new(options.load.source.clone(), options.load.refresh_ms);
    let interval = Duration::from_millis(options.load.refresh_ms);
    tasks.spawn(unlink.clone().run_until_cancelled_owned(load::keep_sampling(sampler, interval, load_in)));

    let machine = Machine::new(rules(&options), BootId(draw_u64()), ballot, boot_now());
    let greeter = Arc::new(Greeter {
        boot: machine.boot(),
        cluster: options.cluster.id,
        timings: options.cluster.timings,
        api_url: options.api.url,
        peers: options.cluster.peers,
        key: options.cluster.key,
        identities: Mutex::default(),
        complaints: Mutex::default(),
    });
    let (news_in, mut news) = mpsc::channel(NEWS);
    let Hold { outboxes: cargo, parcels, may_take_over, saved_term } = hold;
    let outboxes = transport::start(listener, options.api.port, &greeter, &news_in, (cargo, parcels), &unlink, &tasks);
    let view = OperatorView::new(&greeter.peers, &greeter.api_url, boot_now());
    let mut driver = Driver {
        machine,
        greeter,
        links: Links { processes: HashMap::new(), outboxes },
        ballots,
        outputs,
        note: options.note,
        cargo: CargoStatus { may_take_over, saved_term },
        view,
    };

    driver.feed(Event::Woke);
    let mut resigned = false;
    loop {
        let wait = driver.machine.wake_at().since(boot_now()).min(LONGEST_SLEEP_MS);
        tokio::select! {
            // A flood of frames must delay neither a heartbeat nor the end.
            biased;
            () = signals.resign.cancelled(), if !resigned => {
                resigned = true;
                driver.feed(Event::Stopping);
            }
            // Not before there is a successor, or the resignation has been put into the outboxes.
            () = signals.stop.cancelled(), if resigned && !driver.machine.awaits_successor() => break,
            () = signals.drained.notified() => driver.feed(Event::Drained),
            Some((ballot, result)) = saved.recv() => driver.written(ballot, result),
            () = sleep(Duration::from_millis(wait)), if wait > 0 => driver.woke(),
            () = std::future::ready(()), if wait == 0 => driver.woke(),
            Some(news) = news.recv() => driver.take(news),
            Ok(()) = load.changed() => {
                let latest = *load.borrow_and_update();
                if let Some(load) = latest {
                    driver.feed(Event::LoadSampled(load));
                }
            }
        }
    }
    // The diallers write what is in their outboxes, say Bye and end.
    driver.links.outboxes.clear();
    unlink.cancel();
    tasks.close();
    if timeout(FAREWELL, tasks.wait()).await.is_err() {
        debug!("not all links could be ended in order");
    }
}

fn rules(options: &Options) -> Rules {
    Rules {
        me: options.cluster.peers.me(),
        nodes: options.cluster.peers.count(),
        timings: options.cluster.timings,
        trust_end_of_stream: options.trust_end_of_stream,
    }
}

impl Driver {
    fn woke(&mut self) {
        self.feed(Event::Woke);
        if self.view.must_explain(boot_now()) {
            warn!("there is no leader: {}", self.why_leaderless());
        }
    }

    /// For an operator: what this node waits for.
    fn why_leaderless(&self) -> String {
        let peers = &self.greeter.peers;
        let away: Vec<String> = peers
            .others()
            .filter(|node| !self.links.processes.contains_key(node))
            .map(|node| peers.addr(node).to_string())
            .collect();
        let (here, majority) = (peers.count() - away.len(), peers.count() / 2 + 1);
        let away = away.join(", ");
        if here < majority {
            format!("{here} of {} nodes can be reached, {majority} are needed; not reached: {away}", peers.count())
        } else if self.machine.has_lost_its_ballot() {
            let missing = if away.is_empty() { String::new() } else { format!("; not reached: {away}") };
            format!("this node lost its ballot and may not vote until the others have told theirs{missing}")
        } else {
            "no candidate gets the votes of a majority yet".to_owned()
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::LinkedTo { node, boot, api_url } => {
                self.links.processes.insert(node, boot);
                self.view.members.linked(node, &api_url);
                self.feed(Event::LinkedTo(node));
            }
            News::UnlinkedFrom { node } => {
                self.links.processes.remove(&node);
                self.view.members.unlinked(node);
                self.feed(Event::UnlinkedFrom(node));
            }
            News::Heard { from, envelope } => self.heard(from, &envelope),
            News::Greeted { process } => self.feed(Event::Greeted(process)),
            News::Doubled { reason } => {
                self.outputs.doubled.send_replace(Some(reason));
            }
            News::LinkEnded { from, end, mirrored } => {
                debug!("the link from {} ended: {end:?}", self.greeter.peers.addr(from.node));
                if end == End::Orderly && mirrored {
                    self.feed(Event::EndOfStream(from));
                }
            }
        }
    }

    fn heard(&mut self, from: Process, envelope: &Envelope) {
        self.view.members.heard(from.node, envelope, boot_now());
        let answers =
            matches!(envelope.message, Message::PreVoteResp(_) | Message::VoteResp { .. } | Message::Ack { .. });
        // An answer counts only from the process that answers at the sender's configured address.
        if answers && self.links.processes.get(&from.node) != Some(&from.boot) {
            debug!("a {} of another process of {} is ignored", envelope.message.name(), envelope.from);
            return;
        }
        self.view.hinted(&envelope.message, envelope.leader_url.as_deref());
        self.view.narrator.heard(&envelope.message, self.machine.leader().map(|(leader, _)| leader));
        let is_heartbeat = matches!(envelope.message, Message::Heartbeat { .. });
        self.feed(Event::Heard { from, message: envelope.message });
        if is_heartbeat && self.machine.leader().is_some_and(|(leader, _)| leader == from.node) {
            self.outputs.leader_note.send_replace(envelope.note);
        }
    }

    fn written(&mut self, ballot: Ballot, result: io::Result<()>) {
        match result {
            Ok(()) => self.feed(Event::Saved(ballot)),
            Err(error) => {
                self.view.ballot_failed(&error, boot_now());
                self.feed(Event::SaveFailed(ballot));
            }
        }
    }

    /// One event through the machine. What others may see is changed before anything is said: a leader that gives up
    /// has stopped serving when the first node hears of it.
    fn feed(&mut self, event: Event) {
        let now = boot_now();
        let actions = self.machine.handle(event, now, Draw(draw_permille()));
        self.publish(now);
        for action in actions {
            match action {
                Action::Send { to, message } => self.send(to, message, now),
                Action::Save(ballot) => {
                    if self.ballots.try_send(ballot).is_err() {
                        warn!("the disk is so slow that a ballot could not be queued");
                        let draw = Draw(draw_permille());
                        // It answers with nothing but notes, and the next need writes again.
                        self.machine.handle(Event::SaveFailed(ballot), now, draw);
                    }
                }
                // Everybody who watches the role sees that it is handing over; `drained` is called when that is done.
                Action::Drain => {}
                Action::Note(note) => self.view.noted(&note, now),
            }
        }
    }

    fn publish(&mut self, now: BootMs) {
        let machine = &self.machine;
        let leader = machine.leader().and_then(|(node, term)| {
            let api_url = self.view.members.api_url(node)?.to_owned();
            Some(Leader { node: self.greeter.peers.addr(node), api_url, term })
        });
        // A winner that no majority has acknowledged yet does not serve: until it does, requests are held, not refused.
        let is_led = leader.is_some() && (!leads(machine) || machine.is_serving(now));
        let leaderless_since = self.view.led(is_led, now);
        let role = Role { term: machine.term(), standing: machine.standing(), leader, leaderless_since };
        self.view.members.tell_mine(role.word(), machine.load(), machine.term(), now);
        self.view.became(&role, now);
        self.outputs.role.send_if_modified(|published| {
            let changed = *published != role;
            *published = role;
            changed
        });
        if self.machine.is_serving(now) {
            // For when it does not any more and hears of no successor: then it knows what it told last, as its followers do.
            let note = *self.note.borrow();
            self.outputs.leader_note.send_if_modified(|before| std::mem::replace(before, note) != note);
        }
        let saved_term = self.machine.saved_term();
        self.cargo.saved_term.send_if_modified(|before| std::mem::replace(before, saved_term) != saved_term);
        self.outputs.members.send_replace(self.view.members.rows().clone());
    }

    fn send(&mut self, to: NodeId, mut message: Message, now: BootMs) {
        if !self.links.processes.contains_key(&to) {
            return;
        }
        if let Message::Ack { ready, .. } = &mut message {
            *ready &= *self.cargo.may_take_over.borrow();
        }
        let leads = matches!(message, Message::Heartbeat { .. });
        let hinted = match &message {
            Message::PreVoteResp(answer) => answer.leader.and_then(|(node, _)| self.view.members.api_url(node)),
            _ => None,
        };
        let envelope = Envelope {
            cluster: self.greeter.cluster,
            from: self.greeter.me(),
            boot: self.greeter.boot,
            term: self.machine.term(),
            load: self.machine.load(),
            role: self.machine.member_role(),
            leader_url: hinted.map(str::to_owned),
            note: if leads { *self.note.borrow() } else { 0 },
            members: if leads { self.view.members.reports(now) } else { Vec::new() },
            message,
        };
        let name = envelope.message.name();
        let frame = Frame::Message(Box::new(envelope)).encode();
        if let Some(outbox) = self.links.outboxes.get(&to)
            && outbox.try_send(frame).is_err()
        {
            debug!("a {name} to {} is dropped: its link is slow", self.greeter.peers.addr(to));
        }
    }
}

/// Whether the node won its term, serving or not.
fn leads(machine: &Machine) -> bool {
    matches!(machine.standing(), Standing::Leader { .. })
}

#[expect(clippy::disallowed_methods, reason = "this is a driver: the machine gets its randomness from here")]
fn draw_permille() -> u16 {
    rand::rng().random_range(0..1000)
}

#[expect(clippy::disallowed_methods, reason = "this is a driver: the machine gets its boot id from here")]
fn draw_u64() -> u64 {
    rand::rng().random()
}
