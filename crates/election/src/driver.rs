//! Runs the machine: a thread with a runtime of its own, so that no other work of the process can delay a heartbeat.
//! It passes events in and performs the actions that come out; it holds no policy.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::ballot::{BallotFile, Found};
use super::carrier::{Carrier, Hold, Parcel};
use super::dialler::Dialler;
use super::frame::{Envelope, Frame};
use super::greeter::Greeter;
use super::link::End;
use super::load::{LoadSource, Sampler};
use super::machine::{Action, Draw, Event, Machine, Rules};
use super::members::Members;
use super::message::Message;
use super::narrator::{Line, Narrator};
use super::network::{Network, News};
use super::process::{Ballot, BootId, NodeId, Peers, Process};
use super::role::{Leader, Member, Role, Standing};
use rollcall_core::clock::boot_now;
use rollcall_core::{BootMs, ClusterKey, Load, Term, Timings};

/// Frames that wait for one node; more are dropped, as a network would.
const OUTBOX_FRAMES: usize = 64;
/// News that wait for the machine; more wait in the kernel.
const NEWS: usize = 256;
/// Ballots on their way to the disk.
const BALLOTS: usize = 16;
/// The machine is woken at least this often: timers run on a clock that stands still while the computer sleeps.
const LONGEST_SLEEP_MS: u64 = 1000;
/// How often the log says why there is no leader.
const EXPLAIN_EVERY_MS: u64 = 10_000;
/// How long a process that ends waits for its last words to be written.
const FAREWELL: Duration = Duration::from_millis(500);

/// What an election needs to know.
#[derive(Debug)]
pub struct Options {
    /// The members and this node.
    pub peers: Peers,
    /// The bucket's id: only nodes of one bucket form a cluster.
    pub cluster: Uuid,
    /// Where this node's HTTP API is, without a trailing slash.
    pub api_url: String,
    /// The API's port, for those who ask at the wrong one.
    pub api_port: u16,
    /// The numbers that all nodes share.
    pub timings: Timings,
    /// Whether an orderly end of a link proves that the process at its other end is dead.
    pub trust_end_of_stream: bool,
    /// The secret of the cluster, if it has one: nodes with another one, or none, are refused.
    pub key: Option<ClusterKey>,
    /// Where the load comes from.
    pub load_source: LoadSource,
    /// Between two samples of the load, in milliseconds.
    pub cpu_refresh_ms: u64,
    /// Where the ballot is kept; exists.
    pub dir: PathBuf,
    /// What keeps other processes from `dir`; held until the last ballot is written.
    pub lock: Option<Arc<File>>,
    /// Whether this node has certainly never been started before, so that no ballot means that it never voted.
    pub first_start: bool,
    /// A number that the leader's followers are told with each heartbeat; opaque here.
    pub note: watch::Receiver<u64>,
}

/// A running election.
#[derive(Debug)]
pub struct Election {
    role: watch::Receiver<Role>,
    members: watch::Receiver<Vec<Member>>,
    leader_note: watch::Receiver<u64>,
    doubled: watch::Receiver<Option<String>>,
    resign: CancellationToken,
    stop: CancellationToken,
    drained: Arc<Notify>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The process aborts if the election panics: a dead election in a living process would end links as only a dead process
/// may, and would never give up a lease.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// The same for a task, whose panic the runtime would otherwise keep to itself.
pub(super) async fn or_abort<T>(task: impl Future<Output = T>) -> T {
    let _guard = AbortOnPanic;
    task.await
}

impl Election {
    /// Starts on an election port that is already bound. The carrier is for what other parts of the program have to say to
    /// their like on the other nodes.
    ///
    /// # Errors
    /// If the ballot cannot be read or the thread cannot be started.
    pub fn start(listener: TcpListener, options: Options) -> io::Result<(Self, Carrier)> {
        let ballots = BallotFile::new(&options.dir, options.peers.clone(), options.lock.clone());
        let ballot = match ballots.load()? {
            Found::Ballot(ballot) => Some(ballot),
            Found::Missing if options.first_start => {
                ballots.save(Ballot::default())?;
                Some(Ballot::default())
            }
            Found::Missing => {
                warn!("there is no ballot in {}, but this node has been started before", options.dir.display());
                None
            }
            Found::Torn(why) => {
                warn!("the ballot file in {} is no whole ballot: {why}", options.dir.display());
                None
            }
        };
        listener.set_nonblocking(true)?;
        let term = ballot.unwrap_or_default().term;
        let (role_out, role) = watch::channel(Role::starting(term, boot_now()));
        let (members_out, members) = watch::channel(Vec::new());
        let (note_out, leader_note) = watch::channel(0);
        let (doubled_out, doubled) = watch::channel(None);
        let (resign, stop) = (CancellationToken::new(), CancellationToken::new());
        let drained = Arc::new(Notify::new());
        let (carrier, hold) = Carrier::new(&options.peers);
        let signals = (resign.clone(), stop.clone(), Arc::clone(&drained));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let thread = thread::Builder::new().name("election".into()).spawn(move || {
            let _guard = AbortOnPanic;
            let outputs = Outputs { role: role_out, members: members_out, leader_note: note_out, doubled: doubled_out };
            runtime.block_on(run(listener, options, ballots, ballot, outputs, hold, signals));
            // Whatever still blocks (a sample of the load) is not waited for.
            runtime.shutdown_background();
        })?;
        Ok((Self { role, members, leader_note, doubled, resign, stop, drained, thread: Some(thread) }, carrier))
    }

    /// What this node is.
    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// What is known of every node.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<Vec<Member>> {
        self.members.clone()
    }

    /// The number that the leader told its followers last; if that leader is this node, its own when it served last.
    #[must_use]
    pub fn leader_note(&self) -> watch::Receiver<u64> {
        self.leader_note.clone()
    }

    /// Why this process must end, once a member has found that another living process has this node's address.
    #[must_use]
    pub fn doubled(&self) -> watch::Receiver<Option<String>> {
        self.doubled.clone()
    }

    /// To be notified when all that was under way has been answered, after [`Role::is_handing_over`] became true.
    #[must_use]
    pub fn drained(&self) -> Arc<Notify> {
        Arc::clone(&self.drained)
    }

    /// Hands the lease over or gives it up, tells the others, and never stands again. The node goes on voting until [`Self::stop`].
    pub fn resign(&self) {
        self.resign.cancel();
    }

    /// Says Bye on all links and ends.
    pub async fn stop(mut self) {
        self.resign();
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// An election that is dropped without [`Election::stop`] ends all the same, only that nobody waits for it.
impl Drop for Election {
    fn drop(&mut self) {
        self.resign.cancel();
        self.stop.cancel();
    }
}

/// What the rest of the process tells the election: give the lease up; end; what was under way is done.
type Signals = (CancellationToken, CancellationToken, Arc<Notify>);

struct Outputs {
    role: watch::Sender<Role>,
    members: watch::Sender<Vec<Member>>,
    leader_note: watch::Sender<u64>,
    doubled: watch::Sender<Option<String>>,
}

/// What the election thread holds.
struct Driver {
    machine: Machine,
    greeter: Arc<Greeter>,
    members: Members,
    /// The process at the other end of each link to another node.
    linked: HashMap<NodeId, BootId>,
    outboxes: HashMap<NodeId, mpsc::Sender<Bytes>>,
    ballots: std::sync::mpsc::SyncSender<Ballot>,
    outputs: Outputs,
    note: watch::Receiver<u64>,
    /// Whether the rest of this process could take over from a leader that can choose its successor.
    knows_enough: watch::Receiver<bool>,
    saved_term: watch::Sender<Option<Term>>,
    leaderless_since: Option<BootMs>,
    /// When the log last said why there is no leader.
    explained_at: BootMs,
    narrator: Narrator,
}

/// What the election thread runs, until `stop`.
async fn run(
    listener: tokio::net::TcpListener,
    options: Options,
    ballots: BallotFile,
    ballot: Option<Ballot>,
    outputs: Outputs,
    hold: Hold,
    (resign, stop, drained): Signals,
) {
    let tasks = TaskTracker::new();
    // The links outlive the wish to stop: until there is a successor, or the resignation is out, they are needed.
    let unlink = CancellationToken::new();
    let (ballots, mut saved) = start_writer(ballots);
    let (load_in, mut load) = watch::channel(None);
    let sampler = Sampler::new(options.load_source.clone(), options.cpu_refresh_ms);
    let interval = Duration::from_millis(options.cpu_refresh_ms);
    tasks.spawn(unlink.clone().run_until_cancelled_owned(sample_load(sampler, interval, load_in)));

    let machine = Machine::new(rules(&options), BootId(draw_u64()), ballot, boot_now());
    let greeter = Arc::new(Greeter {
        boot: machine.boot(),
        cluster: options.cluster,
        timings: options.timings,
        net_timeout: Duration::from_millis(options.timings.net_timeout_ms),
        api_url: options.api_url,
        peers: options.peers,
        key: options.key,
        identities: Mutex::default(),
        complaints: Mutex::default(),
    });
    let (news_in, mut news) = mpsc::channel(NEWS);
    let Hold { outboxes: cargo, parcels, ready: knows_enough, saved_term } = hold;
    let outboxes = start_network(listener, options.api_port, &greeter, &news_in, (cargo, parcels), &unlink, &tasks);
    let members = Members::new(&greeter.peers, &greeter.api_url);
    let linked = HashMap::new();
    let note = options.note;
    let narrator = Narrator::new(greeter.peers.clone(), boot_now());
    let mut driver = Driver {
        machine,
        greeter,
        members,
        linked,
        outboxes,
        ballots,
        outputs,
        note,
        knows_enough,
        saved_term,
        leaderless_since: None,
        explained_at: boot_now(),
        narrator,
    };

    driver.feed(Event::Woke);
    let mut resigned = false;
    loop {
        let wait = driver.machine.wake_at().since(boot_now()).min(LONGEST_SLEEP_MS);
        tokio::select! {
            // A flood of frames must delay neither a heartbeat nor the end.
            biased;
            () = resign.cancelled(), if !resigned => {
                resigned = true;
                driver.feed(Event::Stopping);
            }
            // Not before there is a successor, or the resignation has been put into the outboxes.
            () = stop.cancelled(), if resigned && !driver.machine.awaits_successor() => break,
            () = drained.notified() => driver.feed(Event::Drained),
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
    driver.outboxes.clear();
    unlink.cancel();
    tasks.close();
    if timeout(FAREWELL, tasks.wait()).await.is_err() {
        debug!("not all links could be ended in order");
    }
}

fn rules(options: &Options) -> Rules {
    Rules {
        me: options.peers.me(),
        nodes: options.peers.count(),
        timings: options.timings,
        trust_end_of_stream: options.trust_end_of_stream,
    }
}

/// A thread that writes ballots in order, and what became of them.
fn start_writer(file: BallotFile) -> (std::sync::mpsc::SyncSender<Ballot>, mpsc::Receiver<(Ballot, io::Result<()>)>) {
    let (ballots_in, ballots) = std::sync::mpsc::sync_channel(BALLOTS);
    let (saved_in, saved) = mpsc::channel(BALLOTS);
    let spawned = thread::Builder::new().name("ballot".into()).spawn(move || {
        let _guard = AbortOnPanic;
        while let Ok(ballot) = ballots.recv() {
            let result = file.save(ballot);
            if saved_in.blocking_send((ballot, result)).is_err() {
                return;
            }
        }
    });
    spawned.expect("a process that cannot start a thread cannot take part in an election");
    (ballots_in, saved)
}

/// Samples the load for ever; reads files, so never on the election thread.
async fn sample_load(mut sampler: Sampler, interval: Duration, out: watch::Sender<Option<Load>>) {
    loop {
        sleep(interval).await;
        let reading = spawn_blocking(move || {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since boot are far below 2^52")]
            let load = sampler.sample(boot_now().0 as f64 / 1000.0);
            (sampler, load)
        });
        let Ok((back, load)) = reading.await else { return };
        sampler = back;
        if out.send(Some(load)).is_err() {
            return;
        }
    }
}

/// Cargo for each other node, and from them.
type CargoEnds = (HashMap<NodeId, mpsc::Receiver<Bytes>>, mpsc::Sender<Parcel>);

/// The accepting side and a dialler to every other node; the diallers' outboxes.
fn start_network(
    listener: tokio::net::TcpListener,
    api_port: u16,
    greeter: &Arc<Greeter>,
    news: &mpsc::Sender<News>,
    (mut cargo, parcels): CargoEnds,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> HashMap<NodeId, mpsc::Sender<Bytes>> {
    let mut outboxes = HashMap::new();
    let mut nudges = HashMap::new();
    for node in greeter.peers.others() {
        let (outbox_in, outbox) = mpsc::channel(OUTBOX_FRAMES);
        let nudge = Arc::new(Notify::new());
        let dialler = Dialler {
            node,
            greeter: Arc::clone(greeter),
            outbox,
            cargo: cargo.remove(&node).expect("the carrier is made for the same peers"),
            nudge: Arc::clone(&nudge),
            news: news.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(or_abort(dialler.run()));
        outboxes.insert(node, outbox_in);
        nudges.insert(node, nudge);
    }
    let network = Network {
        greeter: Arc::clone(greeter),
        news: news.clone(),
        nudges,
        api_port,
        parcels,
        stop: stop.clone(),
        tasks: tasks.clone(),
        current: Mutex::default(),
    };
    tasks.spawn(or_abort(Arc::new(network).run(listener)));
    outboxes
}

impl Driver {
    fn woke(&mut self) {
        self.feed(Event::Woke);
        let now = boot_now();
        let long_without = self.leaderless_since.is_some_and(|since| now.since(since) >= EXPLAIN_EVERY_MS);
        if long_without && now.since(self.explained_at) >= EXPLAIN_EVERY_MS {
            self.explained_at = now;
            warn!("there is no leader: {}", self.why_leaderless());
        }
    }

    /// For an operator: what this node waits for.
    fn why_leaderless(&self) -> String {
        let peers = &self.greeter.peers;
        let away: Vec<String> = peers
            .others()
            .filter(|node| !self.linked.contains_key(node))
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
                self.linked.insert(node, boot);
                self.members.linked(node, &api_url);
                self.feed(Event::LinkedTo(node));
            }
            News::UnlinkedFrom { node } => {
                self.linked.remove(&node);
                self.members.unlinked(node);
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
        self.members.heard(from.node, envelope, boot_now());
        let answers =
            matches!(envelope.message, Message::PreVoteResp(_) | Message::VoteResp { .. } | Message::Ack { .. });
        // An answer counts only from the process that answers at the sender's configured address.
        if answers && self.linked.get(&from.node) != Some(&from.boot) {
            debug!("a {} of another process of {} is ignored", envelope.message.name(), envelope.from);
            return;
        }
        if let (Message::PreVoteResp(answer), Some(url)) = (&envelope.message, &envelope.leader_url)
            && let Some((leader, _)) = answer.leader
        {
            self.members.hinted_url(leader, url);
        }
        self.narrator.heard(&envelope.message, self.machine.leader().map(|(leader, _)| leader));
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
                log(self.narrator.ballot_failed(&error, boot_now()));
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
                Action::Note(note) => log(self.narrator.line(&note, &self.members, now)),
            }
        }
    }

    fn publish(&mut self, now: BootMs) {
        let machine = &self.machine;
        let leader = machine.leader().and_then(|(node, term)| {
            let api_url = self.members.api_url(node)?.to_owned();
            Some(Leader { node: self.greeter.peers.addr(node), api_url, term })
        });
        // A winner that no majority has acknowledged yet does not serve: until it does, requests are held, not refused.
        let is_led = leader.is_some() && (!leads(machine) || machine.is_serving(now));
        self.leaderless_since = (!is_led).then(|| self.leaderless_since.unwrap_or(now));
        let leaderless_since = self.leaderless_since;
        let role = Role { term: machine.term(), standing: machine.standing(), leader, leaderless_since };
        self.members.tell_mine(role.word(), machine.load(), machine.term(), now);
        log(self.narrator.became(&role, &self.members, now));
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
        self.saved_term.send_if_modified(|before| std::mem::replace(before, saved_term) != saved_term);
        self.outputs.members.send_replace(self.members.rows().clone());
    }

    fn send(&mut self, to: NodeId, mut message: Message, now: BootMs) {
        if !self.linked.contains_key(&to) {
            return;
        }
        if let Message::Ack { ready, .. } = &mut message {
            *ready &= *self.knows_enough.borrow();
        }
        let leads = matches!(message, Message::Heartbeat { .. });
        let hinted = match &message {
            Message::PreVoteResp(answer) => answer.leader.and_then(|(node, _)| self.members.api_url(node)),
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
            members: if leads { self.members.reports(now) } else { Vec::new() },
            message,
        };
        let name = envelope.message.name();
        let frame = Frame::Message(Box::new(envelope)).encode();
        if let Some(outbox) = self.outboxes.get(&to)
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

fn log(line: Option<Line>) {
    match line {
        Some(Line::Info(text)) => info!("{text}"),
        Some(Line::Warn(text)) => warn!("{text}"),
        Some(Line::Error(text)) => error!("{text}"),
        None => {}
    }
}

#[expect(clippy::disallowed_methods, reason = "this is a driver: the machine gets its randomness from here")]
fn draw_permille() -> u16 {
    rand::rng().random_range(0..1000)
}

#[expect(clippy::disallowed_methods, reason = "this is a driver: the machine gets its boot id from here")]
fn draw_u64() -> u64 {
    rand::rng().random()
}
