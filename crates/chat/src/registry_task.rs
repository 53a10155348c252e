//! Background task for the registry: registers the peer, sends heartbeats and reads the list of
//! online users.
//!
//! The chat does not depend on it: if the registry is unreachable, the task retries and the peer
//! continues.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::endpoint::PeerEndpoint;
use super::event_log;
use super::io_counters::IoCounters;
use super::registry_host::{is_on_this_host, reachable};
use rollcall_client::{Client, ClientError, NewUser};
use rollcall_core::clock::boot_now;
use rollcall_core::{Addr, BootMs, Password, Username};

/// Longest wait between two rounds (see [`RegistryTask::sync_once`]). The wait is shorter if the
/// registry asks for an earlier heartbeat.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Wait before the list is read again after a registration. While many users register, the registry
/// may serve a list that is up to 100 ms old.
const SECOND_POLL_DELAY: Duration = Duration::from_millis(200);
/// Time for which the registry lists an earlier run of this peer after that run has ended: the
/// default TTL of the registry.
const EARLIER_RUN_TTL: Duration = Duration::from_secs(30);

/// State of the registry as the metrics show it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RegistryStatus {
    /// Result of the latest round.
    pub(crate) state: RegistryState,
    /// Time of the last round that the registry answered without an error, a refused name included.
    pub(crate) last_answer_at: Option<BootMs>,
}

impl RegistryStatus {
    /// Status before the first round.
    pub(crate) const NOT_ASKED: Self = Self { state: RegistryState::NotAsked, last_answer_at: None };
}

/// Result of a round with the registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RegistryState {
    /// No round yet.
    NotAsked,
    /// The registry answered.
    Answered,
    /// The registry answered, but the name needs a password that this peer does not have. The peer
    /// is not listed.
    NameRefused,
    /// The registry did not answer, or answered with an error.
    Unreachable,
}

/// State of the task: the registry client, the own name and address, and the channels to the engine
/// and to the metrics.
pub(super) struct RegistryTask {
    pub(super) client: Client,
    pub(super) user: Username,
    /// Password of the name. The client has a copy and logs in when the registry asks for it.
    pub(super) password: Option<Password>,
    pub(super) addr: Addr,
    pub(super) discovered: mpsc::Sender<Vec<PeerEndpoint>>,
    pub(super) status: watch::Sender<RegistryStatus>,
    pub(super) io_counters: Arc<IoCounters>,
}

/// State of the name of this peer at the registry.
#[derive(Debug)]
enum NameState {
    /// This run has not registered the name, or the registry has lost the registration.
    Unregistered,
    /// Online at another address since `since`.
    OnlineElsewhere { since: Instant, has_warned: bool },
    /// Registered by this peer.
    Registered,
    /// Protected by a password that this peer does not have.
    NameRefused,
}

/// Log message about a name that is online at another address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NameConflict {
    /// The entry may belong to an earlier run of this peer.
    MaybeEarlierRun,
    /// The entry is too old to belong to an earlier run.
    OtherUser,
    /// Nothing: it was logged before.
    AlreadyLogged,
}

impl NameState {
    /// Records that the name is online at another address. Returns the message to log.
    fn record_online_elsewhere(&mut self, now: Instant) -> NameConflict {
        match self {
            Self::OnlineElsewhere { since, has_warned } if now.duration_since(*since) >= EARLIER_RUN_TTL => {
                if std::mem::replace(has_warned, true) {
                    NameConflict::AlreadyLogged
                } else {
                    NameConflict::OtherUser
                }
            }
            Self::OnlineElsewhere { .. } => NameConflict::AlreadyLogged,
            Self::Unregistered | Self::Registered | Self::NameRefused => {
                *self = Self::OnlineElsewhere { since: now, has_warned: false };
                NameConflict::MaybeEarlierRun
            }
        }
    }
}

impl RegistryTask {
    /// Runs rounds until the task is cancelled.
    pub(super) async fn run(self) {
        let mut name = NameState::Unregistered;
        loop {
            let pause = match self.sync_once(&mut name).await {
                Ok(pause) => {
                    let state = if matches!(name, NameState::NameRefused) {
                        RegistryState::NameRefused
                    } else {
                        RegistryState::Answered
                    };
                    if self.set_state(state) == RegistryState::Unreachable {
                        event_log::registry_reachable_again();
                    }
                    pause
                }
                Err(error) => {
                    self.io_counters.registry_failures.add(1);
                    // Logged once, not at each retry.
                    if self.set_state(RegistryState::Unreachable) != RegistryState::Unreachable {
                        event_log::registry_unreachable(&error.to_string());
                    }
                    POLL_INTERVAL
                }
            };
            sleep(pause).await;
        }
    }

    /// Publishes the result of a round. Returns the previous result.
    fn set_state(&self, state: RegistryState) -> RegistryState {
        let last_answer_at =
            (state != RegistryState::Unreachable).then(boot_now).or(self.status.borrow().last_answer_at);
        self.status.send_replace(RegistryStatus { state, last_answer_at }).state
    }

    /// One round: reads the list, registers if necessary, and sends a heartbeat. Returns the time
    /// until the next round.
    async fn sync_once(&self, name: &mut NameState) -> Result<Duration, ClientError> {
        let listed_addr = self.poll_online().await?;
        if !self.ensure_registered(name, listed_addr).await? {
            return Ok(POLL_INTERVAL);
        }
        let accepted = match self.client.heartbeat(&self.user, Some(self.addr.into())).await {
            Err(error) if self.handle_refusal(name, &error) => return Ok(POLL_INTERVAL),
            // The registry lost its users, or an operator deleted this user.
            Err(ClientError::Rejected { code, .. }) if code == "user_not_registered" => {
                *name = NameState::Unregistered;
                return Ok(POLL_INTERVAL);
            }
            accepted => accepted?,
        };
        debug!(ttl_ms = accepted.ttl_ms, "heartbeat accepted");
        if !matches!(std::mem::replace(name, NameState::Registered), NameState::Registered) {
            event_log::registered(self.user.as_str(), &self.addr.to_string());
            // The client has a token if the registry asked for the password, or if this
            // registration set it.
            if self.password.is_some() && self.client.token().is_none() {
                event_log::password_unused(self.user.as_str());
            }
            // Two peers that register at the same time do not see each other in the first list.
            sleep(SECOND_POLL_DELAY).await;
            self.poll_online().await?;
        }
        Ok(Duration::from_millis(accepted.next_heartbeat_ms).min(POLL_INTERVAL))
    }

    /// Reads the list of online users and sends their addresses to the engine. Returns the address
    /// that is listed for the name of this peer.
    async fn poll_online(&self) -> Result<Option<Addr>, ClientError> {
        let online = self.client.online().await?.online_clients;
        let listed_addr =
            online.iter().find(|client| client.username == self.user).and_then(|own_entry| own_entry.addr);
        let others = online.iter().filter(|client| client.username != self.user);
        let endpoints = others.filter_map(|client| client.addr).map(|addr| PeerEndpoint::of(addr.socket_addr()));
        let leader = self.client.leader();
        let is_here = match &leader {
            Some(registry) => is_on_this_host(registry).await,
            None => false,
        };
        let _ = self.discovered.send(reachable(endpoints, is_here)).await;
        Ok(listed_addr)
    }

    /// Registers the name if necessary. Returns whether a heartbeat may be sent for it.
    async fn ensure_registered(&self, name: &mut NameState, listed_addr: Option<Addr>) -> Result<bool, ClientError> {
        match name {
            NameState::Registered => return Ok(true),
            NameState::NameRefused => return Ok(false),
            NameState::Unregistered | NameState::OnlineElsewhere { .. } => {}
        }
        let user = NewUser {
            addr: Some(self.addr.into()),
            password: self.password.clone(),
            ..NewUser::named(self.user.clone())
        };
        match self.client.register(&user).await {
            Ok(_) => Ok(true),
            // The name is registered. If it is online at another address, the entry belongs to an
            // earlier run or to another user.
            Err(ClientError::Rejected { code, .. }) if code == "user_exists" => {
                let Some(other) = listed_addr.filter(|listed| *listed != self.addr) else { return Ok(true) };
                match name.record_online_elsewhere(Instant::now()) {
                    NameConflict::MaybeEarlierRun => event_log::name_elsewhere(self.user.as_str(), &other.to_string()),
                    NameConflict::OtherUser => event_log::name_taken(self.user.as_str(), &other.to_string()),
                    NameConflict::AlreadyLogged => {}
                }
                Ok(false)
            }
            Err(error) if self.handle_refusal(name, &error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Checks whether the error means that the name needs a password that this peer does not have.
    /// If so, logs it and stops registering, because the registry counts wrong passwords.
    fn handle_refusal(&self, name: &mut NameState, error: &ClientError) -> bool {
        let ClientError::Rejected { code, message, .. } = error else { return false };
        let is_refused = match code.as_str() {
            "wrong_password" | "password_required" => true,
            "unauthorized" => self.password.is_none(),
            _ => false,
        };
        if is_refused {
            *name = NameState::NameRefused;
            event_log::name_refused(self.user.as_str(), message);
        }
        is_refused
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;
    use rollcall_client::DEFAULT_RETRY_TIMEOUT;
    use rollcall_client::testing::{health, serve};

    /// Timeout for an answer that must arrive before the next round. Shorter than
    /// [`POLL_INTERVAL`].
    const SOON: Duration = Duration::from_secs(6);

    /// Fake node. It answers heartbeats with `heartbeat_reply`, and lists bob as online after the
    /// first heartbeat.
    async fn fake_node(
        tasks: &mut JoinSet<()>,
        requested_paths: Arc<Mutex<Vec<String>>>,
        heartbeat_reply: (u16, &'static str),
    ) -> String {
        serve(tasks, move |_, line| {
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut requested_paths = requested_paths.lock().unwrap();
            let body = match path.as_str() {
                "/" => return health(true, None),
                "/discover" if requested_paths.iter().any(|path| path == "/heartbeat") => {
                    r#"{"online_clients":[{"username":"bob","addr":"10.0.0.2:9000"}],"count":1,"is_leader":true}"#
                }
                "/discover" => r#"{"online_clients":[],"count":0,"is_leader":true}"#,
                "/register" => {
                    r#"{"success":true,"status":"ok","message":"m","user_id":"00000000-0000-4000-8000-000000000000"}"#
                }
                _ => heartbeat_reply.1,
            };
            let status = if path == "/heartbeat" { heartbeat_reply.0 } else { 200 };
            requested_paths.push(path);
            (status, body.to_owned())
        })
        .await
    }

    /// The requested paths without `/discover`.
    fn paths_without_discover(requested_paths: &Mutex<Vec<String>>) -> Vec<String> {
        requested_paths.lock().unwrap().iter().filter(|path| *path != "/discover").cloned().collect()
    }

    fn alice(base: String) -> (RegistryTask, mpsc::Receiver<Vec<PeerEndpoint>>, watch::Receiver<RegistryStatus>) {
        let (discovered, discovered_rx) = mpsc::channel(1);
        let (status, status_rx) = watch::channel(RegistryStatus::NOT_ASKED);
        let registry_task = RegistryTask {
            client: Client::new([base], DEFAULT_RETRY_TIMEOUT).unwrap(),
            user: Username::parse("alice").unwrap(),
            password: None,
            addr: Addr::new("10.0.0.1:9000".parse().unwrap()).unwrap(),
            discovered,
            status,
            io_counters: Arc::default(),
        };
        (registry_task, discovered_rx, status_rx)
    }

    #[tokio::test]
    async fn the_list_is_read_again_after_the_first_registration() {
        let mut tasks = JoinSet::new();
        let requested_paths = Arc::<Mutex<Vec<String>>>::default();
        let accepted =
            r#"{"success":true,"status":"ok","message":"m","last_seen":"t","ttl_ms":30000,"next_heartbeat_ms":10000}"#;
        let base = fake_node(&mut tasks, Arc::clone(&requested_paths), (200, accepted)).await;
        let (registry_task, mut discovered_rx, mut status_rx) = alice(base);
        tasks.spawn(registry_task.run());
        assert_eq!(discovered_rx.recv().await, Some(vec![]));
        let bob = PeerEndpoint::parse("10.0.0.2:9000").unwrap();
        assert_eq!(timeout(SOON, discovered_rx.recv()).await.expect("at once"), Some(vec![bob]));
        status_rx.wait_for(|status| status.state == RegistryState::Answered).await.unwrap();
        assert_eq!(
            *requested_paths.lock().unwrap(),
            ["/discover", "/register", "/heartbeat", "/discover"],
            "and then it waits"
        );
    }

    #[tokio::test]
    async fn the_list_is_still_read_when_the_name_needs_an_unknown_password() {
        let mut tasks = JoinSet::new();
        let refusal = (401, r#"{"success":false,"message":"m","code":"unauthorized"}"#);
        let requested_paths = Arc::<Mutex<Vec<String>>>::default();
        let base = fake_node(&mut tasks, Arc::clone(&requested_paths), refusal).await;
        let (registry_task, mut discovered_rx, status_rx) = alice(base);
        let mut name = NameState::Unregistered;
        for _ in 0..3 {
            assert_eq!(registry_task.sync_once(&mut name).await.unwrap(), POLL_INTERVAL);
            discovered_rx.recv().await.unwrap();
        }
        assert!(matches!(name, NameState::NameRefused));
        assert_eq!(paths_without_discover(&requested_paths), ["/register", "/heartbeat"], "each once");
        assert_eq!(*status_rx.borrow(), RegistryStatus::NOT_ASKED);
        assert_eq!(registry_task.set_state(RegistryState::Answered), RegistryState::NotAsked);
        let last_answer_at = status_rx.borrow().last_answer_at;
        assert_eq!(registry_task.set_state(RegistryState::Unreachable), RegistryState::Answered);
        assert_eq!(*status_rx.borrow(), RegistryStatus { state: RegistryState::Unreachable, last_answer_at });
        assert!(last_answer_at.is_some());
    }

    #[tokio::test]
    async fn a_peer_that_is_no_longer_registered_registers_again() {
        let mut tasks = JoinSet::new();
        let unknown = (404, r#"{"success":false,"message":"m","code":"user_not_registered"}"#);
        let requested_paths = Arc::<Mutex<Vec<String>>>::default();
        let base = fake_node(&mut tasks, Arc::clone(&requested_paths), unknown).await;
        let (registry_task, mut discovered_rx, _status_rx) = alice(base);
        let mut name = NameState::Registered;
        for _ in 0..2 {
            assert_eq!(registry_task.sync_once(&mut name).await.unwrap(), POLL_INTERVAL);
            discovered_rx.recv().await.unwrap();
        }
        assert_eq!(paths_without_discover(&requested_paths), ["/heartbeat", "/register", "/heartbeat"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_online_elsewhere_belongs_to_another_user_after_the_ttl_of_an_earlier_run() {
        let (started_at, mut name) = (Instant::now(), NameState::Unregistered);
        let logged = [0, 10, 20, 29, 30, 40]
            .map(|seconds| name.record_online_elsewhere(started_at + Duration::from_secs(seconds)));
        let (earlier, already, other) =
            (NameConflict::MaybeEarlierRun, NameConflict::AlreadyLogged, NameConflict::OtherUser);
        assert_eq!(logged, [earlier, already, already, already, other, already]);
    }
}
