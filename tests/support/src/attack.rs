//! Attacks from one address, and a victim at another one. Both are addresses of this machine
//! (127.0.0.0/8), so a node tells them apart.
//!
//! An attack holds what it can get: when the node closes a connection, the attacker opens another
//! one. The victim opens a new connection for each request, which is the hardest case.

mod connection;
mod victim;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep};

use crate::sample_images::noisy_png;
use connection::{Connection, get, post, upload};

pub use victim::{Report, Results, Victim};

/// The address of the attacker.
pub const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

/// The address of the victim.
pub const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Pause between two connections of an attacking task. Without it, the attack would measure only
/// the processor time of the attacker, which shares the machine with the node.
const PAUSE: Duration = Duration::from_millis(5);

/// Time after which a slow reader opens another connection.
const SLOW_READER_TIME: Duration = Duration::from_secs(2);

/// Users to whom the attacker uploads images. Enough that some images are stored before their
/// quotas are full.
const UPLOADED_USERS: usize = 8;

/// Users that the attacker registers at once before its attack.
const CONCURRENT_PREPARATIONS: usize = 16;

/// Answer of a node that accepted a connection.
const CONNECTED: &str = "connected";

/// The behaviour of the attacker on each of its connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attack {
    /// Sends nothing.
    IdleConnections,
    /// Resets the connection at once, and opens the next one without a pause.
    ConnectionStorm,
    /// Sends half of the head of a request.
    HalfHeads,
    /// Sends half of the body of a registration or of an upload.
    HalfBodies,
    /// Asks for the list of users and reads one byte a second.
    SlowReaders,
    /// Waits for changes of the list of online clients.
    LongPolls,
    /// Uploads images for eight users, also when their quotas are full.
    Uploads,
    /// Registers new names, also when the rate of its address is used up.
    Registrations,
    /// Registers new names with passwords. For a node without a rate of registrations.
    PasswordRegistrations,
    /// Logs in with the right password, for a user of each connection.
    Logins,
    /// Guesses the password of a user of each connection.
    Guesses,
}

/// An attack that runs. It ends when this value is dropped.
#[derive(Debug)]
pub struct RunningAttack {
    _tasks: JoinSet<()>,
    answers: Answers,
}

/// Counts of the answers by status and code, such as `503 overloaded`.
#[derive(Clone, Debug, Default)]
struct Answers(Arc<Mutex<BTreeMap<String, usize>>>);

/// One task of the attacker.
struct Attacker {
    attack: Attack,
    node: SocketAddr,
    index: usize,
    /// Requests so far, over all connections of the task.
    sent: usize,
    /// Requests that all tasks of the attack send.
    requests: Arc<[Vec<u8>]>,
    answers: Answers,
}

impl Attack {
    /// All attacks.
    pub const ALL: [Self; 11] = [
        Self::IdleConnections,
        Self::ConnectionStorm,
        Self::HalfHeads,
        Self::HalfBodies,
        Self::SlowReaders,
        Self::LongPolls,
        Self::Uploads,
        Self::Registrations,
        Self::PasswordRegistrations,
        Self::Logins,
        Self::Guesses,
    ];

    /// The answer that shows that the attack reached its target.
    pub fn expected_answer(self) -> &'static str {
        match self {
            Self::IdleConnections
            | Self::ConnectionStorm
            | Self::HalfHeads
            | Self::HalfBodies
            | Self::SlowReaders
            | Self::LongPolls => CONNECTED,
            Self::Uploads => "409 quota_exceeded",
            Self::Registrations => "429 rate_limited",
            // The queue for passwords is full.
            Self::PasswordRegistrations => "503 overloaded",
            Self::Logins => "200",
            Self::Guesses => "429 too_many_attempts",
        }
    }

    /// Starts the attack on `connections` connections. The users that it needs are registered
    /// first.
    pub async fn start(self, node: SocketAddr, connections: usize) -> RunningAttack {
        let requests = self.prepare(node, connections).await;
        let answers = Answers::default();
        let mut tasks = JoinSet::new();
        for index in 0..connections {
            let (requests, answers) = (Arc::clone(&requests), answers.clone());
            let mut attacker = Attacker { attack: self, node, index, sent: 0, requests, answers };
            tasks.spawn(async move {
                loop {
                    // The node may refuse a connection or close it at any time.
                    let _ = attacker.attack().await;
                    if self == Self::ConnectionStorm {
                        yield_now().await;
                    } else {
                        sleep(PAUSE).await;
                    }
                }
            });
        }
        RunningAttack { _tasks: tasks, answers }
    }

    /// Registers users, and returns the requests of the attack.
    async fn prepare(self, node: SocketAddr, connections: usize) -> Arc<[Vec<u8>]> {
        match self {
            Self::HalfBodies | Self::Uploads => {
                let users: Vec<_> = (0..UPLOADED_USERS).map(|index| format!("mallory-{index}")).collect();
                register(node, users.iter().map(|user| format!(r#"{{"username":"{user}"}}"#)).collect()).await;
                let picture = noisy_png(128, 128);
                users.iter().map(|user| upload(user, &picture)).collect()
            }
            Self::Logins | Self::Guesses => {
                let user = |index: usize, password: &str| {
                    format!(r#"{{"username":"mallory-{index}","password":"{password}"}}"#)
                };
                register(node, (0..connections).map(|index| user(index, "correct horse")).collect()).await;
                let password = if self == Self::Logins { "correct horse" } else { "wrong horse" };
                (0..connections).map(|index| post("/login", &user(index, password))).collect()
            }
            _ => Arc::default(),
        }
    }
}

/// Registers users. Some of them may be registered already.
async fn register(node: SocketAddr, users: Vec<String>) {
    let register = |user: String| async move {
        let answer = async { Connection::open(node, None).await?.exchange(&post("/register", &user)).await };
        let answer = answer.await.expect("the node answers before the attack");
        assert!(["200", "201"].contains(&answer.kind().as_str()), "{}", answer.text);
    };
    stream::iter(users).for_each_concurrent(CONCURRENT_PREPARATIONS, register).await;
}

impl RunningAttack {
    /// Number of times that the node gave this answer, such as `503 overloaded` or `201`.
    pub fn answers(&self, kind: &str) -> usize {
        self.answers.lock().get(kind).copied().unwrap_or(0)
    }

    /// All answers of the node with their counts.
    pub fn summary(&self) -> String {
        let answers = self.answers.lock();
        let counts: Vec<_> = answers.iter().map(|(kind, count)| format!("{count} x {kind}")).collect();
        counts.join(", ")
    }
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, kind: String) {
        *self.lock().entry(kind).or_default() += 1;
    }
}

impl Attacker {
    /// One connection, until it ends.
    async fn attack(&mut self) -> io::Result<()> {
        // With a small buffer most of a list stays at the node.
        let receive_buffer = (self.attack == Attack::SlowReaders).then_some(4096);
        let mut connection = Connection::open(self.node, receive_buffer).await?;
        self.answers.count(CONNECTED.to_owned());
        match self.attack {
            Attack::IdleConnections => connection.hold(b"").await,
            Attack::ConnectionStorm => connection.reset(),
            Attack::HalfHeads => connection.hold(b"GET /discover HTTP/1.1\r\nHost: x\r\nX-Slow: ").await,
            Attack::HalfBodies if self.index.is_multiple_of(2) => {
                let padding = "x".repeat(1000);
                let request = post("/register", &format!(r#"{{"username":"mallory","padding":"{padding}"}}"#));
                connection.hold(&request[..request.len() - 500]).await
            }
            Attack::HalfBodies => {
                let request = self.shared_request();
                connection.hold(&request[..request.len() / 2]).await
            }
            Attack::SlowReaders => read_slowly(connection).await,
            Attack::LongPolls => self.poll(connection).await,
            Attack::Uploads | Attack::Logins | Attack::Guesses => {
                let requests = Arc::clone(&self.requests);
                self.repeat(connection, |index, _| requests[index % requests.len()].clone()).await
            }
            Attack::Registrations => {
                let body = |index, sent| format!(r#"{{"username":"flood-{index}-{sent}"}}"#);
                self.repeat(connection, |index, sent| post("/register", &body(index, sent))).await
            }
            Attack::PasswordRegistrations => {
                let body = |index, sent| format!(r#"{{"username":"flood-{index}-{sent}","password":"correct horse"}}"#);
                self.repeat(connection, |index, sent| post("/register", &body(index, sent))).await
            }
        }
    }

    fn shared_request(&self) -> &[u8] {
        &self.requests[self.index % self.requests.len()]
    }

    /// Sends one request after the other. `request` gets the numbers of the task and of the
    /// request.
    async fn repeat(
        &mut self,
        mut connection: Connection,
        request: impl Fn(usize, usize) -> Vec<u8>,
    ) -> io::Result<()> {
        loop {
            self.sent += 1;
            let answer = connection.exchange(&request(self.index, self.sent)).await?;
            self.answers.count(answer.kind());
        }
    }

    async fn poll(&self, mut connection: Connection) -> io::Result<()> {
        let mut cursor = "0".to_owned();
        loop {
            let answer = connection.exchange(&get(&format!("/discover?since={cursor}&wait=55"))).await?;
            self.answers.count(answer.kind());
            let rest = answer.text.split("\"cursor\":\"").nth(1).ok_or_else(|| io::Error::other("no cursor"))?;
            rest.split('"').next().unwrap_or_default().clone_into(&mut cursor);
        }
    }
}

async fn read_slowly(mut connection: Connection) -> io::Result<()> {
    connection.send(&get("/users")).await?;
    let started = Instant::now();
    while started.elapsed() < SLOW_READER_TIME && connection.read_byte().await? {
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
