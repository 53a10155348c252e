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
use crate::machine::{Action, Entropy, Event, Machine, Rules};
use crate::options::Options;
use crate::process::{Ballot, BootId, NodeId, Process};
use crate::role::{Leader, Member, Role, RoleState};
use crate::transport;
use crate::transport::hello::HelloPolicy;
use crate::transport::link::LinkEnd;
use crate::transport::listener::LinkEvent;
use crate::transport::payload::TransportHandle;
use crate::wire::frame::{Envelope, Frame};
use crate::wire::message::Message;
use operator_view::OperatorView;
use rollcall_core::clock::boot_now;
use rollcall_core::{BootMs, Term};

/// News that wait for the machine; more wait in the kernel.
const MAX_QUEUED_EVENTS: usize = 256;
/// The machine is woken at least this often: timers run on a clock that stands still while the computer sleeps.
const MAX_SLEEP_MS: u64 = 1000;
/// How long a process that ends waits for its last words to be written.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);

/// What the rest of the process tells the election.
pub(crate) struct ControlSignals {
    /// Give the lease up.
    pub(crate) resign: CancellationToken,
    /// End.
    pub(crate) stop: CancellationToken,
    /// What was under way is done.
    pub(crate) drained: Arc<Notify>,
}

/// What the rest of the process sees of the election.
pub(crate) struct PublishedState {
    pub(crate) role: watch::Sender<Role>,
    pub(crate) members: watch::Sender<Vec<Member>>,
    pub(crate) leader_tag: watch::Sender<u64>,
    pub(crate) address_conflict: watch::Sender<Option<String>>,
}

/// The links to the other nodes.
struct OutboundLinks {
    /// The process at the other end of each.
    processes: HashMap<NodeId, BootId>,
    outboxes: HashMap<NodeId, mpsc::Sender<Bytes>>,
}

/// What the part of the program that sends cargo tells the election, and is told.
struct TransportStatus {
    /// Whether the rest of this process could take over from a leader that can choose its successor.
    may_take_over: watch::Receiver<bool>,
    saved_term: watch::Sender<Option<Term>>,
}

/// What the election thread holds.
struct Driver {
    machine: Machine,
    policy: Arc<HelloPolicy>,
    links: OutboundLinks,
    ballots: SyncSender<Ballot>,
    published: PublishedState,
    /// This node's number for its followers.
    heartbeat_tag: watch::Receiver<u64>,
    transport: TransportStatus,
    view: OperatorView,
}

/// What the election thread runs, until it is stopped. `ballot`: what was found in the file.
pub(crate) async fn run(
    listener: TcpListener,
    options: Options,
    (file, ballot): (BallotFile, Option<Ballot>),
    published: PublishedState,
    handle: TransportHandle,
    signals: ControlSignals,
) {
    let tasks = TaskTracker::new();
    // The links outlive the wish to stop: until there is a successor, or the resignation is out, they are needed.
    let stop_links = CancellationToken::new();
    let (ballots, mut saved) = ballot_writer::start(file);
    let (load_sender, mut load) = watch::channel(None);
    let sampler = Sampler::new(options.load.source.clone(), options.load.refresh_ms);
    let interval = Duration::from_millis(options.load.refresh_ms);
    tasks.spawn(stop_links.clone().run_until_cancelled_owned(load::sample_forever(sampler, interval, load_sender)));

    let machine = Machine::new(rules(&options), BootId(random_u64()), ballot, boot_now());
    let policy = Arc::new(HelloPolicy {
        boot: machine.boot(),
        cluster: options.cluster.id,
        timings: options.cluster.timings,
        api_url: options.api.url,
        peers: options.cluster.peers,
        key: options.cluster.key,
        identities: Mutex::default(),
        log_throttle: Mutex::default(),
    });
    let (event_sender, mut events) = mpsc::channel(MAX_QUEUED_EVENTS);
    let TransportHandle { outboxes: payloads, inbound, may_take_over, saved_term } = handle;
    let outboxes =
        transport::start(listener, options.api.port, &policy, &event_sender, (payloads, inbound), &stop_links, &tasks);
    let view = OperatorView::new(&policy.peers, &policy.api_url, boot_now());
    let mut driver = Driver {
        machine,
        policy,
        links: OutboundLinks { processes: HashMap::new(), outboxes },
        ballots,
        published,
        heartbeat_tag: options.heartbeat_tag,
        transport: TransportStatus { may_take_over, saved_term },
        view,
    };

    driver.handle_event(Event::TimerFired);
    let mut resigned = false;
    loop {
        let wait = driver.machine.next_timer_at().since(boot_now()).min(MAX_SLEEP_MS);
        tokio::select! {
            // A flood of frames must delay neither a heartbeat nor the end.
            biased;
            () = signals.resign.cancelled(), if !resigned => {
                resigned = true;
                driver.handle_event(Event::StopRequested);
            }
            // Not before there is a successor, or the resignation has been put into the outboxes.
            () = signals.stop.cancelled(), if resigned && !driver.machine.awaits_successor() => break,
            () = signals.drained.notified() => driver.handle_event(Event::Drained),
            Some((ballot, result)) = saved.recv() => driver.handle_write_result(ballot, result),
            () = sleep(Duration::from_millis(wait)), if wait > 0 => driver.handle_timer(),
            () = std::future::ready(()), if wait == 0 => driver.handle_timer(),
            Some(event) = events.recv() => driver.handle_link_event(event),
            Ok(()) = load.changed() => {
                let latest = *load.borrow_and_update();
                if let Some(load) = latest {
                    driver.handle_event(Event::LoadSampled(load));
                }
            }
        }
    }
    // The diallers write what is in their outboxes, say Bye and end.
    driver.links.outboxes.clear();
    stop_links.cancel();
    tasks.close();
    if timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await.is_err() {
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
    fn handle_timer(&mut self) {
        self.handle_event(Event::TimerFired);
        if self.view.take_explanation_due(boot_now()) {
            warn!("there is no leader: {}", self.leaderless_reason());
        }
    }

    /// For an operator: what this node waits for.
    fn leaderless_reason(&self) -> String {
        let peers = &self.policy.peers;
        let unreachable: Vec<String> = peers
            .others()
            .filter(|node| !self.links.processes.contains_key(node))
            .map(|node| peers.addr(node).to_string())
            .collect();
        let (reachable, majority) = (peers.count() - unreachable.len(), peers.count() / 2 + 1);
        let unreachable = unreachable.join(", ");
        if reachable < majority {
            format!(
                "{reachable} of {} nodes can be reached, {majority} are needed; not reached: {unreachable}",
                peers.count()
            )
        } else if self.machine.has_lost_its_ballot() {
            let missing = if unreachable.is_empty() { String::new() } else { format!("; not reached: {unreachable}") };
            format!("this node lost its ballot and may not vote until the others have told theirs{missing}")
        } else {
            "no candidate gets the votes of a majority yet".to_owned()
        }
    }

    fn handle_link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::LinkUp { node, boot, api_url } => {
                self.links.processes.insert(node, boot);
                self.view.members.set_linked(node, &api_url);
                self.handle_event(Event::LinkUp(node));
            }
            LinkEvent::LinkDown { node } => {
                self.links.processes.remove(&node);
                self.view.members.set_unlinked(node);
                self.handle_event(Event::LinkDown(node));
            }
            LinkEvent::MessageReceived { from, envelope } => self.handle_message(from, &envelope),
            LinkEvent::ProcessConnected { process } => self.handle_event(Event::ProcessConnected(process)),
            LinkEvent::AddressConflict { reason } => {
                self.published.address_conflict.send_replace(Some(reason));
            }
            LinkEvent::IncomingLinkEnded { from, end, is_direct } => {
                debug!("the link from {} ended: {end:?}", self.policy.peers.addr(from.node));
                if end == LinkEnd::Orderly && is_direct {
                    self.handle_event(Event::EndOfStream(from));
                }
            }
        }
    }

    fn handle_message(&mut self, from: Process, envelope: &Envelope) {
        self.view.members.record_frame(from.node, envelope, boot_now());
        let is_response =
            matches!(envelope.message, Message::PreVoteResp(_) | Message::VoteResp { .. } | Message::Ack { .. });
        // An answer counts only from the process that answers at the sender's configured address.
        if is_response && self.links.processes.get(&from.node) != Some(&from.boot) {
            debug!("a {} of another process of {} is ignored", envelope.message.name(), envelope.from);
            return;
        }
        self.view.learn_leader_url(&envelope.message, envelope.leader_url.as_deref());
        self.view.event_log.observe_message(&envelope.message, self.machine.leader().map(|(leader, _)| leader));
        let is_heartbeat = matches!(envelope.message, Message::Heartbeat { .. });
        self.handle_event(Event::MessageReceived { from, message: envelope.message });
        if is_heartbeat && self.machine.leader().is_some_and(|(leader, _)| leader == from.node) {
            self.published.leader_tag.send_replace(envelope.tag);
        }
    }

    fn handle_write_result(&mut self, ballot: Ballot, result: io::Result<()>) {
        match result {
            Ok(()) => self.handle_event(Event::BallotSaved(ballot)),
            Err(error) => {
                self.view.log_ballot_failure(&error, boot_now());
                self.handle_event(Event::BallotSaveFailed(ballot));
            }
        }
    }

    /// One event through the machine. What others may see is changed before anything is said: a leader that gives up
    /// has stopped serving when the first node hears of it.
    fn handle_event(&mut self, event: Event) {
        let now = boot_now();
        let actions = self.machine.handle(event, now, Entropy(random_permille()));
        self.publish(now);
        for action in actions {
            match action {
                Action::Send { to, message } => self.send(to, message, now),
                Action::SaveBallot(ballot) => {
                    if self.ballots.try_send(ballot).is_err() {
                        warn!("the disk is so slow that a ballot could not be queued");
                        let entropy = Entropy(random_permille());
                        // It answers with nothing but notes, and the next need writes again.
                        self.machine.handle(Event::BallotSaveFailed(ballot), now, entropy);
                    }
                }
                // Everybody who watches the role sees that it is handing over; `drained` is called when that is done.
                Action::Drain => {}
                Action::Log(event) => self.view.log_event(&event, now),
            }
        }
    }

    fn publish(&mut self, now: BootMs) {
        let machine = &self.machine;
        let leader = machine.leader().and_then(|(node, term)| {
            let api_url = self.view.members.api_url(node)?.to_owned();
            Some(Leader { node: self.policy.peers.addr(node), api_url, term })
        });
        // A winner that no majority has acknowledged yet does not serve: until it does, requests are held, not refused.
        let is_led = leader.is_some() && (!is_leader(machine) || machine.is_serving(now));
        let leaderless_since = self.view.update_leaderless_since(is_led, now);
        let role = Role { term: machine.term(), state: machine.role_state(), leader, leaderless_since };
        self.view.members.update_own(role.member_role(), machine.load(), machine.term(), now);
        self.view.log_role(&role, now);
        self.published.role.send_if_modified(|published| {
            let changed = *published != role;
            *published = role;
            changed
        });
        if self.machine.is_serving(now) {
            // For when it does not any more and hears of no successor: then it knows what it told last, as its followers do.
            let tag = *self.heartbeat_tag.borrow();
            self.published.leader_tag.send_if_modified(|before| std::mem::replace(before, tag) != tag);
        }
        let saved_term = self.machine.saved_term();
        self.transport.saved_term.send_if_modified(|before| std::mem::replace(before, saved_term) != saved_term);
        self.published.members.send_replace(self.view.members.rows().clone());
    }

    fn send(&mut self, to: NodeId, mut message: Message, now: BootMs) {
        if !self.links.processes.contains_key(&to) {
            return;
        }
        if let Message::Ack { ready, .. } = &mut message {
            *ready &= *self.transport.may_take_over.borrow();
        }
        let is_leader = matches!(message, Message::Heartbeat { .. });
        let leader_url = match &message {
            Message::PreVoteResp(answer) => answer.leader.and_then(|(node, _)| self.view.members.api_url(node)),
            _ => None,
        };
        let envelope = Envelope {
            cluster: self.policy.cluster,
            from: self.policy.me(),
            boot: self.policy.boot,
            term: self.machine.term(),
            load: self.machine.load(),
            role: self.machine.member_role(),
            leader_url: leader_url.map(str::to_owned),
            tag: if is_leader { *self.heartbeat_tag.borrow() } else { 0 },
            members: if is_leader { self.view.members.reports(now) } else { Vec::new() },
            message,
        };
        let name = envelope.message.name();
        let frame = Frame::Message(Box::new(envelope)).encode();
        if let Some(outbox) = self.links.outboxes.get(&to)
            && outbox.try_send(frame).is_err()
        {
            debug!("a {name} to {} is dropped: its link is slow", self.policy.peers.addr(to));
        }
    }
}

/// Whether the node won its term, serving or not.
fn is_leader(machine: &Machine) -> bool {
    matches!(machine.role_state(), RoleState::Leader { .. })
}

#[expect(clippy::disallowed_methods, reason = "this is a driver: the machine gets its randomness from here")]
fn random_permille() -> u16 {
    rand::rng().random_range(0..1000)
}

#[expect(clippy::disallowed_methods, reason = "this is a driver: the machine gets its boot id from here")]
fn random_u64() -> u64 {
    rand::rng().random()
}
