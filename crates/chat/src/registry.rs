//! The registry, as a peer uses it: registers there, says that it is online, and learns who else is. Everything goes on
//! without it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::endpoint::Endpoint;
use super::narrator;
use super::tallies::Tallies;
use rollcall_client::{Client, ClientError, NewUser};
use rollcall_core::clock::boot_now;
use rollcall_core::{Addr, BootMs, Password, Username};

/// Between two looks at who is online, unless the registry wants a heartbeat sooner.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A list that many join at once may be a tenth of a second old.
const SETTLED: Duration = Duration::from_millis(200);
/// For so long an earlier run of this peer is listed after its end, unless the registry was told another time to live.
const FORMER_RUN: Duration = Duration::from_secs(30);

/// How a peer stands with the registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Standing {
    /// What became of the latest question.
    pub(crate) latest: Latest,
    /// When it answered last.
    pub(crate) answered_at: Option<BootMs>,
}

impl Standing {
    /// It was not asked yet.
    pub(crate) const UNASKED: Self = Self { latest: Latest::Unasked, answered_at: None };
}

/// What became of a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Latest {
    /// There was none yet.
    Unasked,
    /// It was answered.
    Answered,
    /// It was answered; but this peer's name needs a password that it does not have, so it is not listed.
    Refused,
    /// It was not.
    Away,
}

/// What a peer tells the registry.
pub(super) struct Registrant {
    pub(super) client: Client,
    pub(super) user: Username,
    /// The client has it, too, for when it is asked for it.
    pub(super) password: Option<Password>,
    pub(super) addr: Addr,
    pub(super) found: mpsc::Sender<Vec<Endpoint>>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) tallies: Arc<Tallies>,
}

/// What is known of this peer's name there.
#[derive(Debug)]
enum Name {
    /// Nothing.
    New,
    /// It is online at another address, and has been since this was first seen.
    Elsewhere { since: Instant, is_told: bool },
    /// It is this peer's.
    Ours,
    /// It needs a password that this peer does not have.
    Refused,
}

/// What there is to say of a name that is online elsewhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Namesake {
    /// It may be an earlier run of this peer.
    Earlier,
    /// An earlier run would not be listed any more.
    SomebodyElse,
    /// That was said.
    Told,
}

impl Name {
    /// It is online at another address.
    fn is_elsewhere(&mut self, now: Instant) -> Namesake {
        match self {
            Self::Elsewhere { since, is_told } if now.duration_since(*since) >= FORMER_RUN => {
                if std::mem::replace(is_told, true) { Namesake::Told } else { Namesake::SomebodyElse }
            }
            Self::Elsewhere { .. } => Namesake::Told,
            Self::New | Self::Ours | Self::Refused => {
                *self = Self::Elsewhere { since: now, is_told: false };
                Namesake::Earlier
            }
        }
    }
}

impl Registrant {
    /// Registers, then says that it is online and looks who else is, for ever.
    pub(super) async fn run(self) {
        let mut name = Name::New;
        loop {
            let pause = match self.round(&mut name).await {
                Ok(pause) => {
                    let latest = if matches!(name, Name::Refused) { Latest::Refused } else { Latest::Answered };
                    if self.stands(latest) == Latest::Away {
                        narrator::registry_back();
                    }
                    pause
                }
                Err(error) => {
                    self.tallies.registry_failures.add(1);
                    // Once, and not with each try.
                    if self.stands(Latest::Away) != Latest::Away {
                        narrator::registry_gone(&error.to_string());
                    }
                    LOOK_EVERY
                }
            };
            sleep(pause).await;
        }
    }

    /// Notes how it stands now; what became of the question before.
    fn stands(&self, latest: Latest) -> Latest {
        let answered_at = (latest != Latest::Away).then(boot_now).or(self.standing.borrow().answered_at);
        self.standing.send_replace(Standing { latest, answered_at }).latest
    }

    async fn round(&self, name: &mut Name) -> Result<Duration, ClientError> {
        let there = self.look().await?;
        if !self.is_registered(name, there).await? {
            return Ok(LOOK_EVERY);
        }
        let accepted = match self.client.heartbeat(&self.user, Some(self.addr.into())).await {
            Err(error) if self.is_refused(name, &error) => return Ok(LOOK_EVERY),
            // It has lost its users, or an operator has deleted this one.
            Err(ClientError::Rejected { code, .. }) if code == "user_not_registered" => {
                *name = Name::New;
                return Ok(LOOK_EVERY);
            }
            accepted => accepted?,
        };
        debug!("online for another {} ms", accepted.ttl_ms);
        if !matches!(std::mem::replace(name, Name::Ours), Name::Ours) {
            narrator::registered(self.user.as_str(), &self.addr.to_string());
            // Whoever has a token was asked for proof, or has just given the name its password.
            if self.password.is_some() && self.client.token().is_none() {
                narrator::password_unasked(self.user.as_str());
            }
            // Of two that come at the same moment, neither was on the list yet that the other has seen.
            sleep(SETTLED).await;
            self.look().await?;
        }
        Ok(Duration::from_millis(accepted.next_heartbeat_ms).min(LOOK_EVERY))
    }

    /// Tells who else is online; where somebody of this peer's own name is.
    async fn look(&self) -> Result<Option<Addr>, ClientError> {
        let online = self.client.online().await?.online_clients;
        let there = online.iter().find(|client| client.username == self.user).and_then(|mine| mine.addr);
        let others = online.iter().filter(|client| client.username != self.user);
        let endpoints = others.filter_map(|client| client.addr).map(|addr| Endpoint::of(addr.socket_addr()));
        let _ = self.found.send(endpoints.collect()).await;
        Ok(there)
    }

    /// Registers, if that is still to be done; whether the name may be this peer's.
    async fn is_registered(&self, name: &mut Name, there: Option<Addr>) -> Result<bool, ClientError> {
        match name {
            Name::Ours => return Ok(true),
            Name::Refused => return Ok(false),
            Name::New | Name::Elsewhere { .. } => {}
        }
        let user = NewUser {
            addr: Some(self.addr.into()),
            password: self.password.clone(),
            ..NewUser::named(self.user.clone())
        };
        match self.client.register(&user).await {
            Ok(_) => Ok(true),
            // Registered at another address: by an earlier run of this peer, or by somebody else who is there now.
            Err(ClientError::Rejected { code, .. }) if code == "user_exists" => {
                let Some(there) = there.filter(|there| *there != self.addr) else { return Ok(true) };
                match name.is_elsewhere(Instant::now()) {
                    Namesake::Earlier => narrator::name_elsewhere(self.user.as_str(), &there.to_string()),
                    Namesake::SomebodyElse => narrator::name_taken(self.user.as_str(), &there.to_string()),
                    Namesake::Told => {}
                }
                Ok(false)
            }
            Err(error) if self.is_refused(name, &error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the name needs a password that this peer does not have: it is said, and not tried again, since wrong
    /// passwords are counted.
    fn is_refused(&self, name: &mut Name, error: &ClientError) -> bool {
        let ClientError::Rejected { code, message, .. } = error else { return false };
        let is_refused = match code.as_str() {
            "wrong_password" | "password_required" => true,
            "unauthorized" => self.password.is_none(),
            _ => false,
        };
        if is_refused {
            *name = Name::Refused;
            narrator::name_refused(self.user.as_str(), message);
        }
        is_refused
    }
}

/// The address of this machine as the host of `url` sees it. Nothing is sent: the system only looks up the way.
pub(super) fn address_towards(url: &str) -> IpAddr {
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
    use rollcall_client::DEFAULT_RETRY_TIMEOUT;
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

    fn alice(base: String) -> (Registrant, mpsc::Receiver<Vec<Endpoint>>, watch::Receiver<Standing>) {
        let (found, founds) = mpsc::channel(1);
        let (standing, stands) = watch::channel(Standing::UNASKED);
        let registrant = Registrant {
            client: Client::new([base], DEFAULT_RETRY_TIMEOUT).unwrap(),
            user: Username::parse("alice").unwrap(),
            password: None,
            addr: Addr::new("10.0.0.1:9000".parse().unwrap()).unwrap(),
            found,
            standing,
            tallies: Arc::default(),
        };
        (registrant, founds, stands)
    }

    #[tokio::test]
    async fn who_is_on_the_list_for_the_first_time_looks_who_came_at_the_same_moment() {
        let mut tasks = JoinSet::new();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let accepted =
            r#"{"success":true,"status":"ok","message":"m","last_seen":"t","ttl_ms":30000,"next_heartbeat_ms":10000}"#;
        let base = node(&mut tasks, Arc::clone(&asked), (200, accepted)).await;
        let (registrant, mut founds, mut stands) = alice(base);
        tasks.spawn(registrant.run());
        assert_eq!(founds.recv().await, Some(vec![]));
        let bob = Endpoint::parse("10.0.0.2:9000").unwrap();
        assert_eq!(timeout(SOON, founds.recv()).await.expect("at once"), Some(vec![bob]));
        stands.wait_for(|standing| standing.latest == Latest::Answered).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), ["/discover", "/register", "/heartbeat", "/discover"], "and then it waits");
    }

    #[tokio::test]
    async fn a_name_whose_password_is_not_known_is_no_reason_not_to_look() {
        let mut tasks = JoinSet::new();
        let refusal = (401, r#"{"success":false,"message":"m","code":"unauthorized"}"#);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let base = node(&mut tasks, Arc::clone(&asked), refusal).await;
        let (registrant, mut founds, stands) = alice(base);
        let mut name = Name::New;
        for _ in 0..3 {
            assert_eq!(registrant.round(&mut name).await.unwrap(), LOOK_EVERY);
            founds.recv().await.unwrap();
        }
        assert!(matches!(name, Name::Refused));
        assert_eq!(besides_looks(&asked), ["/register", "/heartbeat"], "each once");
        assert_eq!(*stands.borrow(), Standing::UNASKED);
        assert_eq!(registrant.stands(Latest::Answered), Latest::Unasked);
        let answered_at = stands.borrow().answered_at;
        assert_eq!(registrant.stands(Latest::Away), Latest::Answered);
        assert_eq!(*stands.borrow(), Standing { latest: Latest::Away, answered_at });
        assert!(answered_at.is_some());
    }

    #[tokio::test]
    async fn who_is_not_registered_any_more_registers_again() {
        let mut tasks = JoinSet::new();
        let unknown = (404, r#"{"success":false,"message":"m","code":"user_not_registered"}"#);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let base = node(&mut tasks, Arc::clone(&asked), unknown).await;
        let (registrant, mut founds, _stands) = alice(base);
        let mut name = Name::Ours;
        for _ in 0..2 {
            assert_eq!(registrant.round(&mut name).await.unwrap(), LOOK_EVERY);
            founds.recv().await.unwrap();
        }
        assert_eq!(besides_looks(&asked), ["/heartbeat", "/register", "/heartbeat"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_online_elsewhere_is_somebody_elses_once_an_earlier_run_would_be_forgotten() {
        let (began, mut name) = (Instant::now(), Name::New);
        let told = [0, 10, 20, 29, 30, 40].map(|seconds| name.is_elsewhere(began + Duration::from_secs(seconds)));
        let (earlier, told_before, other) = (Namesake::Earlier, Namesake::Told, Namesake::SomebodyElse);
        assert_eq!(told, [earlier, told_before, told_before, told_before, other, told_before]);
    }
}
