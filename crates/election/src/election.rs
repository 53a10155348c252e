//! The election as the rest of the program holds it: start, watch, resign, stop.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::abort::AbortOnPanic;
use crate::ballot::{BallotFile, StoredBallot};
use crate::driver::{self, ControlSignals, PublishedState};
use crate::options::Options;
use crate::process::Ballot;
use crate::role::{Member, Role};
use crate::transport::payload::Transport;
use rollcall_core::clock::boot_now;

/// A running election.
#[derive(Debug)]
pub struct Election {
    role: watch::Receiver<Role>,
    members: watch::Receiver<Vec<Member>>,
    leader_tag: watch::Receiver<u64>,
    address_conflict: watch::Receiver<Option<String>>,
    resign: CancellationToken,
    stop: CancellationToken,
    drained: Arc<Notify>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Election {
    /// Starts on an election port that is already bound. The carrier is for what other parts of the program have to say to
    /// their like on the other nodes.
    ///
    /// # Errors
    /// If the ballot cannot be read or the thread cannot be started.
    pub fn start(listener: TcpListener, options: Options) -> io::Result<(Self, Transport)> {
        let ballots = BallotFile::new(&options.ballot.dir, options.cluster.peers.clone(), options.ballot.lock.clone());
        let ballot = load_ballot(&ballots, &options)?;
        listener.set_nonblocking(true)?;
        let term = ballot.unwrap_or_default().term;
        let (role_sender, role) = watch::channel(Role::starting(term, boot_now()));
        let (members_sender, members) = watch::channel(Vec::new());
        let (tag_sender, leader_tag) = watch::channel(0);
        let (conflict_sender, address_conflict) = watch::channel(None);
        let (resign, stop) = (CancellationToken::new(), CancellationToken::new());
        let drained = Arc::new(Notify::new());
        let (transport, handle) = Transport::new(&options.cluster.peers);
        let signals = ControlSignals { resign: resign.clone(), stop: stop.clone(), drained: Arc::clone(&drained) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let thread = thread::Builder::new().name("election".into()).spawn(move || {
            let _guard = AbortOnPanic;
            let published = PublishedState {
                role: role_sender,
                members: members_sender,
                leader_tag: tag_sender,
                address_conflict: conflict_sender,
            };
            runtime.block_on(driver::run(listener, options, (ballots, ballot), published, handle, signals));
            // Whatever still blocks (a sample of the load) is not waited for.
            runtime.shutdown_background();
        })?;
        Ok((
            Self { role, members, leader_tag, address_conflict, resign, stop, drained, thread: Some(thread) },
            transport,
        ))
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
    pub fn leader_tag(&self) -> watch::Receiver<u64> {
        self.leader_tag.clone()
    }

    /// Why this process must end, once a member has found that another living process has this node's address.
    #[must_use]
    pub fn address_conflict(&self) -> watch::Receiver<Option<String>> {
        self.address_conflict.clone()
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

/// The ballot on disk; a blank one at the very first start. `None` if this node has lost its
/// ballot.
fn load_ballot(ballots: &BallotFile, options: &Options) -> io::Result<Option<Ballot>> {
    let dir = options.ballot.dir.display();
    Ok(match ballots.load()? {
        StoredBallot::Ballot(ballot) => Some(ballot),
        StoredBallot::Missing if options.ballot.first_start => {
            ballots.save(Ballot::default())?;
            Some(Ballot::default())
        }
        StoredBallot::Missing => {
            warn!("there is no ballot in {dir}, but this node has been started before");
            None
        }
        StoredBallot::Corrupt(why) => {
            warn!("the ballot file in {dir} is no whole ballot: {why}");
            None
        }
    })
}
