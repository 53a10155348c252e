//! Public handle of the election: start, watch, resign, stop.

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
use crate::tls::LinkSecurity;
use crate::transport::payload::Transport;
use crate::transport::tls_handshakes::TlsHandshakes;
use rollcall_core::clock::boot_now;

/// A running election. Dropping it stops the election without waiting for its thread.
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
    /// Starts the election on a bound election port. The returned transport carries messages of
    /// other subsystems over the election links.
    ///
    /// # Errors
    /// If the ballot cannot be read, or the listener, the runtime or the thread cannot be set up.
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
        let handshakes = match &options.cluster.security {
            LinkSecurity::Plain => None,
            LinkSecurity::Tls(certificates) => Some((TlsHandshakes::runtime()?, certificates.clone())),
        };
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
            let tls = handshakes
                .as_ref()
                .map(|(runtime, certificates)| TlsHandshakes::new(certificates.clone(), runtime.handle().clone()));
            runtime.block_on(driver::run(listener, options, (ballots, ballot), published, handle, signals, tls));
            // Do not wait for blocking calls that still run, such as a load sample.
            runtime.shutdown_background();
            if let Some((runtime, _)) = handshakes {
                runtime.shutdown_background();
            }
        })?;
        Ok((
            Self { role, members, leader_tag, address_conflict, resign, stop, drained, thread: Some(thread) },
            transport,
        ))
    }

    /// This node's role.
    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// The known state of every node.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<Vec<Member>> {
        self.members.clone()
    }

    /// The `heartbeat_tag` in the leader's last heartbeat. On the leader itself, it is the tag that
    /// this node had when it last served.
    #[must_use]
    pub fn leader_tag(&self) -> watch::Receiver<u64> {
        self.leader_tag.clone()
    }

    /// Reason why this process must end: another living process has this node's address. `None`
    /// unless another member reports such a conflict.
    #[must_use]
    pub fn address_conflict(&self) -> watch::Receiver<Option<String>> {
        self.address_conflict.clone()
    }

    /// Notify it when all requests in progress are answered, after [`Role::is_handing_over`] became
    /// true.
    #[must_use]
    pub fn drained(&self) -> Arc<Notify> {
        Arc::clone(&self.drained)
    }

    /// Hands the leadership over or gives it up, informs the other nodes, and never campaigns
    /// again. The node still votes until [`Self::stop`].
    pub fn resign(&self) {
        self.resign.cancel();
    }

    /// Resigns, sends Bye on all links and waits until the election thread has ended.
    pub async fn stop(mut self) {
        self.resign();
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Stops the election if [`Election::stop`] was not called. It does not wait for the thread.
impl Drop for Election {
    fn drop(&mut self) {
        self.resign.cancel();
        self.stop.cancel();
    }
}

/// The ballot on disk, or a blank ballot at the first start. `None` if this node has lost its
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
            warn!(%dir, "there is no ballot, but this node has been started before");
            None
        }
        StoredBallot::Corrupt(reason) => {
            warn!(%dir, reason, "the ballot file is corrupt");
            None
        }
    })
}
