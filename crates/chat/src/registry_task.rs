//! The registry, as a peer uses it: registers there, says that it is online, and learns who else is. Everything goes on
//! without it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::endpoint::PeerEndpoint;
use super::event_log;
use super::io_counters::IoCounters;
use rollcall_client::{Client, ClientError, NewUser};
use rollcall_core::clock::boot_now;
use rollcall_core::{Addr, BootMs, Password, Username};

/// Between two looks at who is online, unless the registry wants a heartbeat sooner.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// A list that many join at once may be a tenth of a second old.
const SECOND_POLL_DELAY: Duration = Duration::from_millis(200);
/// For so long an earlier run of this peer is listed after its end, unless the registry was told another time to live.
const EARLIER_RUN_TTL: Duration = Duration::from_secs(30);

/// How a peer stands with the registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RegistryStatus {
    /// What became of the latest question.
    pub(crate) state: RegistryState,
    /// When it answered last.
    pub(crate) last_answer_at: Option<BootMs>,
}

impl RegistryStatus {
    /// It was not asked yet.
    pub(crate) const NOT_ASKED: Self = Self { state: RegistryState::NotAsked, last_answer_at: None };
}

/// What became of a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RegistryState {
    /// There was none yet.
    NotAsked,
    /// It was answered.
    Answered,
    /// It was answered; but this peer's name needs a password that it does not have, so it is not listed.
    NameRefused,
    /// It was not.
    Unreachable,
}

/// What a peer tells the registry.
pub(super) struct RegistryTask {
    pub(super) client: Client,
    pub(super) user: Username,
    /// The client has it, too, for when it is asked for it.
    pub(super) password: Option<Password>,
    pub(super) addr: Addr,
    pub(super) discovered: mpsc::Sender<Vec<PeerEndpoint>>,
    pub(super) status: watch::Sender<RegistryStatus>,
    pub(super) io_counters: Arc<IoCounters>,
}

/// What is known of this peer's name there.
#[derive(Debug)]
enum NameState {
    /// Nothing.
    Unregistered,
    /// It is online at another address, and has been since this was first seen.
    OnlineElsewhere { since: Instant, has_warned: bool },
    /// It is this peer's.
    Registered,
    /// It needs a password that this peer does not have.
    NameRefused,
}

/// What there is to say of a name that is online elsewhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NameConflict {
    /// It may be an earlier run of this peer.
    MaybeEarlierRun,
    /// An earlier run would not be listed any more.
    SomebodyElse,
    /// That was said.
    AlreadyLogged,
}

impl NameState {
    /// It is online at another address.
    fn note_elsewhere(&mut self, now: Instant) -> NameConflict {
        match self {
            Self::OnlineElsewhere { since, has_warned } if now.duration_since(*since) >= EARLIER_RUN_TTL => {
                if std::mem::replace(has_warned, true) {
                    NameConflict::AlreadyLogged
                } else {
                    NameConflict::SomebodyElse
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
    /// Registers, then says that it is online and looks who else is, for ever.
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
                        event_log::registry_back();
                    }
                    pause
                }
                Err(error) => {
                    self.io_counters.registry_failures.add(1);
                    // Once, and not with each try.
                    if self.set_state(RegistryState::Unreachable) != RegistryState::Unreachable {
                        event_log::registry_gone(&error.to_string());
                    }
                    POLL_INTERVAL
                }
            };
            sleep(pause).await;
        }
    }

    /// Notes how it stands now; what became of the question before.
    fn set_state(&self, state: RegistryState) -> RegistryState {
        let last_answer_at =
            (state != RegistryState::Unreachable).then(boot_now).or(self.status.borrow().last_answer_at);
        self.status.send_replace(RegistryStatus { state, last_answer_at }).state
    }

    async fn sync_once(&self, name: &mut NameState) -> Result<Duration, ClientError> {
        let there = self.poll_online().await?;
        if !self.ensure_registered(name, there).await? {
            return Ok(POLL_INTERVAL);
        }
        let accepted = match self.client.heartbeat(&self.user, Some(self.addr.into())).await {
            Err(error) if self.handle_refusal(name, &error) => return Ok(POLL_INTERVAL),
            // It has lost its users, or an operator has deleted this one.
            Err(ClientError::Refused { code, .. }) if code == "user_not_registered" => {
                *name = NameState::Unregistered;
                return Ok(POLL_INTERVAL);
            }
            accepted => accepted?,
        };
        debug!("online for another {} ms", accepted.ttl_ms);
        if !matches!(std::mem::replace(name, NameState::Registered), NameState::Registered) {
            event_log::registered(self.user.as_str(), &self.addr.to_string());
            // Whoever has a token was asked for proof, or has just given the name its password.
            if self.password.is_some() && self.client.token().is_none() {
                event_log::password_unasked(self.user.as_str());
            }
            // Of two that come at the same moment, neither was on the list yet that the other has seen.
            sleep(SECOND_POLL_DELAY).await;
            self.poll_online().await?;
        }
        Ok(Duration::from_millis(accepted.next_heartbeat_ms).min(POLL_INTERVAL))
    }

    /// Tells who else is online; where somebody of this peer's own name is.
    async fn poll_online(&self) -> Result<Option<Addr>, ClientError> {
        let online = self.client.online().await?.online_clients;
        let there = online.iter().find(|client| client.username == self.user).and_then(|mine| mine.addr);
        let others = online.iter().filter(|client| client.username != self.user);
        let endpoints = others.filter_map(|client| client.addr).map(|addr| PeerEndpoint::of(addr.socket_addr()));
        let _ = self.discovered.send(endpoints.collect()).await;
        Ok(there)
    }

    /// Registers, if that is still to be done; whether the name may be this peer's.
    async fn ensure_registered(&self, name: &mut NameState, there: Option<Addr>) -> Result<bool, ClientError> {
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
            // Registered at another address: by an earlier run of this peer, or by somebody else who is there now.
            Err(ClientError::Refused { code, .. }) if code == "user_exists" => {
                let Some(there) = there.filter(|there| *there != self.addr) else { return Ok(true) };
                match name.note_elsewhere(Instant::now()) {
                    NameConflict::MaybeEarlierRun => event_log::name_elsewhere(self.user.as_str(), &there.to_string()),
                    NameConflict::SomebodyElse => event_log::name_taken(self.user.as_str(), &there.to_string()),
                    NameConflict::AlreadyLogged => {}
                }
                Ok(false)
            }
            Err(error) if self.handle_refusal(name, &error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the name needs a password that this peer does not have: it is said, and not tried again, since wrong
    /// passwords are counted.
    fn handle_refusal(&self, name: &mut NameState, error: &ClientError) -> bool {
        let ClientError::Refused { code, message, .. } = error else { return false };
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

/// The address of this machine as the host of `url` sees it. Nothing is sent: the system only looks up the way.
pub(super) fn local_ip_towards(url: &str) -> IpAddr {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    let target = if host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let seen = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(target)?;
        socket.local_addr()
    };
    seen().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |addr: SocketAddr| addr.ip())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;
    use rollcall_client::DEFAULT_PATIENCE;
    use rollcall_client::testing::{health, serve};

    /// Long for an answer, and shorter than a pause between two looks.
    const SOON: Duration = Duration::from_secs(6);

    /// A node at which alice registers and `beat` is what her heartbeat gets; bob is on its lists once she has sent one.
    async fn node(tasks: &mut JoinSet<()>, asked: Arc<Mutex<Vec<String>>>, beat: (u16, &'static str)) -> String {
        serve(tasks, move |_, line| {
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut asked = asked.lock().unwrap();
            let body = match path.as_str() {
                "/" => return health(true, None),
                "/discover" if asked.iter().any(|path| path == "/heartbeat") => {
                    r#"{"online_clients":[{"username":"bob","addr":"10.0.0.2:9000"}],"count":1,"is_leader":true}"#
                }
                "/discover" => r#"{"online_clients":[],"count":0,"is_leader":true}"#,
                "/register" => {
                    r#"{"success":true,"status":"ok","message":"m","user_id":"00000000-0000-4000-8000-000000000000"}"#
                }
                _ => beat.1,
            };
            let status = if path == "/heartbeat" { beat.0 } else { 200 };
            asked.push(path);
            (status, body.to_owned())
        })
        .await
    }

    /// What was asked, but for who is online.
    fn besides_looks(asked: &Mutex<Vec<String>>) -> Vec<String> {
        asked.lock().unwrap().iter().filter(|path| *path != "/discover").cloned().collect()
    }

    fn alice(base: String) -> (RegistryTask, mpsc::Receiver<Vec<PeerEndpoint>>, watch::Receiver<RegistryStatus>) {
        let (discovered, discovered_rx) = mpsc::channel(1);
        let (status, status_rx) = watch::channel(RegistryStatus::NOT_ASKED);
        let registry_task = RegistryTask {
            client: Client::new([base], DEFAULT_PATIENCE).unwrap(),
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
    async fn who_is_on_the_list_for_the_first_time_looks_who_came_at_the_same_moment() {
        let mut tasks = JoinSet::new();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let accepted =
            r#"{"success":true,"status":"ok","message":"m","last_seen":"t","ttl_ms":30000,"next_heartbeat_ms":10000}"#;
        let base = node(&mut tasks, Arc::clone(&asked), (200, accepted)).await;
        let (registry_task, mut discovered_rx, mut status_rx) = alice(base);
        tasks.spawn(registry_task.run());
        assert_eq!(discovered_rx.recv().await, Some(vec![]));
        let bob = PeerEndpoint::parse("10.0.0.2:9000").unwrap();
        assert_eq!(timeout(SOON, discovered_rx.recv()).await.expect("at once"), Some(vec![bob]));
        status_rx.wait_for(|status| status.state == RegistryState::Answered).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), ["/discover", "/register", "/heartbeat", "/discover"], "and then it waits");
    }

    #[tokio::test]
    async fn a_name_whose_password_is_not_known_is_no_reason_not_to_look() {
        let mut tasks = JoinSet::new();
        let refusal = (401, r#"{"success":false,"message":"m","code":"unauthorized"}"#);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let base = node(&mut tasks, Arc::clone(&asked), refusal).await;
        let (registry_task, mut discovered_rx, status_rx) = alice(base);
        let mut name = NameState::Unregistered;
        for _ in 0..3 {
            assert_eq!(registry_task.sync_once(&mut name).await.unwrap(), POLL_INTERVAL);
            discovered_rx.recv().await.unwrap();
        }
        assert!(matches!(name, NameState::NameRefused));
        assert_eq!(besides_looks(&asked), ["/register", "/heartbeat"], "each once");
        assert_eq!(*status_rx.borrow(), RegistryStatus::NOT_ASKED);
        assert_eq!(registry_task.set_state(RegistryState::Answered), RegistryState::NotAsked);
        let last_answer_at = status_rx.borrow().last_answer_at;
        assert_eq!(registry_task.set_state(RegistryState::Unreachable), RegistryState::Answered);
        assert_eq!(*status_rx.borrow(), RegistryStatus { state: RegistryState::Unreachable, last_answer_at });
        assert!(last_answer_at.is_some());
    }

    #[tokio::test]
    async fn who_is_not_registered_any_more_registers_again() {
        let mut tasks = JoinSet::new();
        let unknown = (404, r#"{"success":false,"message":"m","code":"user_not_registered"}"#);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let base = node(&mut tasks, Arc::clone(&asked), unknown).await;
        let (registry_task, mut discovered_rx, _status_rx) = alice(base);
        let mut name = NameState::Registered;
        for _ in 0..2 {
            assert_eq!(registry_task.sync_once(&mut name).await.unwrap(), POLL_INTERVAL);
            discovered_rx.recv().await.unwrap();
        }
        assert_eq!(besides_looks(&asked), ["/heartbeat", "/register", "/heartbeat"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_online_elsewhere_is_somebody_elses_once_an_earlier_run_would_be_forgotten() {
        let (began, mut name) = (Instant::now(), NameState::Unregistered);
        let told = [0, 10, 20, 29, 30, 40].map(|seconds| name.note_elsewhere(began + Duration::from_secs(seconds)));
        let (earlier, told_before, other) =
            (NameConflict::MaybeEarlierRun, NameConflict::AlreadyLogged, NameConflict::SomebodyElse);
        assert_eq!(told, [earlier, told_before, told_before, told_before, other, told_before]);
    }
}
