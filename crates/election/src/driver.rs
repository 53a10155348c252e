//! Driver of the election state machine, on its own thread with its own runtime.
//!
//! On this thread no other work of the process can delay a heartbeat. The driver passes events to
//! the machine and performs the returned actions. It decides nothing about the election.

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
use crate::transport::hello::{HelloPolicy, LinkProofs};
use crate::transport::link::LinkEnd;
use crate::transport::listener::LinkEvent;
use crate::transport::payload::TransportHandle;
use crate::transport::tls_handshakes::TlsHandshakes;
use crate::wire::frame::{Envelope, Frame};
use crate::wire::message::Message;
use operator_view::OperatorView;
use rollcall_core::clock::boot_now;
use rollcall_core::{BootMs, Term};

/// Largest number of queued link events. Further data waits in the kernel's socket buffers.
const MAX_QUEUED_EVENTS: usize = 256;
/// Longest sleep between two timer events, in milliseconds. The timers of the runtime pause while
/// the computer is suspended, so the boot clock is checked at least this often.
const MAX_SLEEP_MS: u64 = 1000;
/// Longest wait at the shutdown until the last frames are written.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);

/// Signals from the rest of the process to the election.
pub(crate) struct ControlSignals {
    /// Hand the leadership over or give it up, and do not campaign again.
    pub(crate) resign: CancellationToken,
    /// End the election.
    pub(crate) stop: CancellationToken,
    /// All requests that were in progress when the handover began have been answered.
    pub(crate) drained: Arc<Notify>,
}

/// State that the election publishes to the rest of the process.
pub(crate) struct PublishedState {
    /// Role of this node, with the leader that it knows.
    pub(crate) role: watch::Sender<Role>,
    /// All nodes, as this node knows them.
    pub(crate) members: watch::Sender<Vec<Member>>,
    /// The tag of the last heartbeat of the leader.
    pub(crate) leader_tag: watch::Sender<u64>,
    /// Reason why this process must end: another living process has this node's address.
    pub(crate) address_conflict: watch::Sender<Option<String>>,
}

/// The links to the other nodes.
struct OutboundLinks {
    /// The process at the other end of each link.
    processes: HashMap<NodeId, BootId>,
    /// Per node, the queue of encoded frames that the link writes.
    outboxes: HashMap<NodeId, mpsc::Sender<Bytes>>,
}

/// State that the election shares with the subsystems that use [`Transport`](crate::Transport).
struct TransportStatus {
    /// Whether this node has enough data for a planned takeover. See
    /// [`Transport::set_may_take_over`](crate::Transport::set_may_take_over).
    may_take_over: watch::Receiver<bool>,
    /// The term on disk, for the subsystems that use the transport.
    saved_term: watch::Sender<Option<Term>>,
}

/// State of the election thread.
struct Driver {
    machine: Machine,
    policy: Arc<HelloPolicy>,
    links: OutboundLinks,
    ballots: SyncSender<Ballot>,
    published: PublishedState,
    /// Number that this node sends with each heartbeat while it leads. The election does not
    /// interpret it.
    heartbeat_tag: watch::Receiver<u64>,
    transport: TransportStatus,
    view: OperatorView,
}

/// Runs the election until it is stopped. `ballot` is the ballot that was read from `file`, if
/// there was a valid one.
pub(crate) async fn run(
    listener: TcpListener,
    options: Options,
    (file, ballot): (BallotFile, Option<Ballot>),
    published: PublishedState,
    handle: TransportHandle,
    signals: ControlSignals,
    tls: Option<TlsHandshakes>,
) {
    let tasks = TaskTracker::new();
    // The links have their own token. They are needed after a stop request, until there is a
    // successor or the resignation has been sent.
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
        proofs: LinkProofs { tls, key: options.cluster.key },
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
            // The branches are checked in this order, so that a flood of frames delays neither a
            // heartbeat nor the stop.
            biased;
            () = signals.resign.cancelled(), if !resigned => {
                resigned = true;
                driver.handle_event(Event::StopRequested);
            }
            // A former leader stops only when there is a successor, or when the resignation is in
            // the outboxes.
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
    // Without a sender for its outbox, each outbound link writes the rest of the outbox, sends Bye
    // and ends.
    driver.links.outboxes.clear();
    stop_links.cancel();
    tasks.close();
    if timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await.is_err() {
        debug!("some links did not end before the shutdown timeout");
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
            warn!(reason = %self.leaderless_reason(), "there is no leader");
        }
    }

    /// Reason why there is no leader, for the log.
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
            format!("this node lost its ballot and cannot vote until the other nodes have reported theirs{missing}")
        } else {
            "no candidate has the votes of a majority yet".to_owned()
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
                debug!(node = %self.policy.peers.addr(from.node), ?end, "incoming link ended");
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
        // A response counts only from the process that answers at the sender's configured address.
        if is_response && self.links.processes.get(&from.node) != Some(&from.boot) {
            debug!(
                node = %envelope.from,
                message_type = envelope.message.name(),
                "ignored a response: its sender is not the process that answers at the address of the node"
            );
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

    /// Passes one event to the machine and performs its actions. The new role is published before
    /// any message is sent. So a leader that gives up its term stops serving before another node
    /// learns of that.
    fn handle_event(&mut self, event: Event) {
        let now = boot_now();
        let actions = self.machine.handle(event, now, Entropy(random_permille()));
        self.publish(now);
        for action in actions {
            match action {
                Action::Send { to, message } => self.send(to, message, now),
                Action::SaveBallot(ballot) => {
                    if self.ballots.try_send(ballot).is_err() {
                        warn!("ballot not saved: the write queue is full because the disk is too slow");
                        let entropy = Entropy(random_permille());
                        // The actions of this event are log events only and are dropped. The next
                        // request that needs the ballot writes it again.
                        self.machine.handle(Event::BallotSaveFailed(ballot), now, entropy);
                    }
                }
                // The published role shows the handover. The node waits for its requests in
                // progress and then signals `drained`.
                Action::Drain => {}
                Action::Log(event) => self.view.log_event(&event, now),
            }
        }
    }

    /// Publishes the role, the members, the tag of the leader and the saved term.
    fn publish(&mut self, now: BootMs) {
        let machine = &self.machine;
        let leader = machine.leader().and_then(|(node, term)| {
            let api_url = self.view.members.api_url(node)?.to_owned();
            Some(Leader { node: self.policy.peers.addr(node), api_url, term })
        });
        // A new leader does not serve before a majority has acknowledged a heartbeat. Until then
        // the API holds requests and does not reject them.
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
            // While this node serves, its own tag is the tag of the leader. It stays published
            // after the lease ends, until a heartbeat of a successor replaces it.
            let tag = *self.heartbeat_tag.borrow();
            self.published.leader_tag.send_if_modified(|before| std::mem::replace(before, tag) != tag);
        }
        let saved_term = self.machine.saved_term();
        self.transport.saved_term.send_if_modified(|before| std::mem::replace(before, saved_term) != saved_term);
        self.published.members.send_replace(self.view.members.rows().clone());
    }

    /// Queues a message for a node. It is dropped if there is no link to the node or the link is
    /// slow.
    fn send(&mut self, to: NodeId, mut message: Message, now: BootMs) {
        if !self.links.processes.contains_key(&to) {
            return;
        }
        if let Message::Ack { ready, .. } = &mut message {
            *ready &= *self.transport.may_take_over.borrow();
        }
        let is_heartbeat = matches!(message, Message::Heartbeat { .. });
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
            tag: if is_heartbeat { *self.heartbeat_tag.borrow() } else { 0 },
            members: if is_heartbeat { self.view.members.reports(now) } else { Vec::new() },
            message,
        };
        let message_type = envelope.message.name();
        let frame = Frame::Message(Box::new(envelope)).encode();
        if let Some(outbox) = self.links.outboxes.get(&to)
            && outbox.try_send(frame).is_err()
        {
            debug!(node = %self.policy.peers.addr(to), message_type, "dropped a message: the link is slow");
        }
    }
}

/// Whether this node leads, with or without a valid lease.
fn is_leader(machine: &Machine) -> bool {
    matches!(machine.role_state(), RoleState::Leader { .. })
}

#[expect(clippy::disallowed_methods, reason = "the driver is the source of randomness for the machine")]
fn random_permille() -> u16 {
    rand::rng().random_range(0..1000)
}

#[expect(clippy::disallowed_methods, reason = "the driver draws the boot id of the machine")]
fn random_u64() -> u64 {
    rand::rng().random()
}
