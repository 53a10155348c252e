//! Attacks from one address, and a victim at another one. Both are addresses of this machine
//! (127.0.0.0/8), so a node tells them apart.
//!
//! An attack holds what it can get: when the node closes a connection, the attacker opens another
//! one. The victim opens a new connection for each request, which is the hardest case.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::http_client_from;

/// The address of the attacker.
pub const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

/// The address of the victim.
pub const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Pause between two connections of an attacking task. Without it, the attack would measure only
/// the processor time of the attacker, which shares the machine with the node.
const PAUSE: Duration = Duration::from_millis(5);

/// Time after which a slow reader opens another connection.
const SLOW_READER_TIME: Duration = Duration::from_secs(2);

/// User of the login flood.
const LOGIN: &str = r#"{"username":"mallory","password":"correct horse"}"#;

/// The behaviour of the attacker on each of its connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attack {
    /// Sends nothing.
    IdleConnections,
    /// Sends half of the head of a request.
    HalfHeads,
    /// Sends half of the body of a request.
    HalfBodies,
    /// Asks for the list of users and reads one byte a second.
    SlowReaders,
    /// Waits for changes of the list of online clients.
    LongPolls,
    /// Logs in with the right password, again and again.
    Logins,
}

impl Attack {
    /// All attacks.
    pub const ALL: [Self; 6] =
        [Self::IdleConnections, Self::HalfHeads, Self::HalfBodies, Self::SlowReaders, Self::LongPolls, Self::Logins];

    /// Starts the attack on `connections` connections. It ends when the returned value is dropped.
    pub async fn start(self, node: SocketAddr, connections: usize) -> JoinSet<()> {
        if self == Self::Logins {
            // The name may be registered already.
            let _ = exchange(node, &post("/register", LOGIN)).await;
        }
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            tasks.spawn(async move {
                loop {
                    // The node may refuse a connection or close it at any time.
                    let _ = self.attack(node).await;
                    sleep(PAUSE).await;
                }
            });
        }
        tasks
    }

    /// One connection, until it ends.
    async fn attack(self, node: SocketAddr) -> io::Result<()> {
        match self {
            Self::IdleConnections => hold(node, b"").await,
            Self::HalfHeads => hold(node, b"GET /discover HTTP/1.1\r\nHost: x\r\nX-Slow: ").await,
            Self::HalfBodies => {
                let request =
                    post("/register", &format!(r#"{{"username":"mallory","padding":"{}"}}"#, "x".repeat(1000)));
                hold(node, &request[..request.len() - 500]).await
            }
            Self::SlowReaders => read_slowly(node).await,
            Self::LongPolls => poll(node).await,
            Self::Logins => log_in(node).await,
        }
    }
}

/// Sends these bytes and waits until the node closes the connection.
async fn hold(node: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut stream = connect(node, None).await?;
    stream.write_all(bytes).await?;
    read_to_end(&mut stream).await.map(drop)
}

async fn read_slowly(node: SocketAddr) -> io::Result<()> {
    // A small buffer, so that most of the response stays at the node.
    let mut stream = connect(node, Some(4096)).await?;
    stream.write_all(&get("/users", "keep-alive")).await?;
    let started = Instant::now();
    while started.elapsed() < SLOW_READER_TIME {
        if stream.read(&mut [0]).await? == 0 {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn poll(node: SocketAddr) -> io::Result<()> {
    let mut cursor = "0".to_owned();
    let mut stream = connect(node, None).await?;
    loop {
        stream.write_all(&get(&format!("/discover?since={cursor}&wait=55"), "keep-alive")).await?;
        // The cursor stands before or after a list that may be long, so all of it is read.
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Ok(());
            }
        }
        let text = String::from_utf8_lossy(&answer);
        let rest = text.split("\"cursor\":\"").nth(1).ok_or_else(|| io::Error::other("no cursor"))?;
        cursor = rest.split('"').next().unwrap_or_default().to_owned();
    }
}

async fn log_in(node: SocketAddr) -> io::Result<()> {
    let mut stream = connect(node, None).await?;
    let login = post("/login", LOGIN);
    loop {
        stream.write_all(&login).await?;
        // The response is shorter than the buffer.
        if stream.read(&mut [0; 4096]).await? == 0 {
            return Ok(());
        }
    }
}

fn get(path: &str, connection: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n").into_bytes()
}

fn post(path: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn connect(node: SocketAddr, receive_buffer: Option<u32>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    receive_buffer.map_or(Ok(()), |bytes| socket.set_recv_buffer_size(bytes))?;
    socket.bind(SocketAddr::new(ATTACKER, 0))?;
    socket.connect(node).await
}

/// Sends a request, and reads what arrives until the connection ends or nothing comes for a second.
async fn exchange(node: SocketAddr, request: &[u8]) -> io::Result<String> {
    let mut stream = connect(node, None).await?;
    stream.write_all(request).await?;
    let answer = timeout(Duration::from_secs(1), read_to_end(&mut stream)).await;
    answer.unwrap_or_else(|_| Ok(Vec::new())).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

async fn read_to_end(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// The requests of a victim during an attack.
#[derive(Debug, Default)]
pub struct Report {
    /// The time of each request that succeeded, in order of their lengths.
    pub times: Vec<Duration>,
    /// The result of each request that failed.
    pub failures: Vec<String>,
}

impl Report {
    /// The share of requests that succeeded within `limit`, in percent.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
    pub fn percent_within(&self, limit: Duration) -> f64 {
        let good = self.times.iter().filter(|time| **time <= limit).count();
        100.0 * good as f64 / (self.times.len() + self.failures.len()) as f64
    }

    /// The time within which 99% of the successful requests ended.
    pub fn p99(&self) -> Duration {
        self.times.get((self.times.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Sends `rounds` of a registration, a heartbeat and a list from the address of the victim, each on
/// a connection of its own. `name` is the beginning of the names that it registers.
pub async fn measure_victim(node: SocketAddr, name: &str, rounds: usize) -> Report {
    let http = http_client_from(VICTIM);
    let mut report = Report::default();
    for round in 0..rounds {
        let user = format!(r#"{{"username":"{name}-{round}","addr":"10.0.0.1:9000"}}"#);
        let requests = [
            (Method::POST, "/register", user.clone()),
            (Method::POST, "/heartbeat", user),
            (Method::GET, "/discover", String::new()),
        ];
        for (method, path, body) in requests {
            let started = Instant::now();
            let answer = async {
                let answer = http.request(method, format!("http://{node}{path}")).body(body).send().await?;
                let status = answer.status();
                Ok::<_, reqwest::Error>((status, answer.text().await?))
            };
            match answer.await {
                Ok((status, _)) if status.is_success() => report.times.push(started.elapsed()),
                Ok((status, text)) => report.failures.push(format!("{path}: {status} {text}")),
                Err(error) => report.failures.push(format!("{path}: {error:?}")),
            }
        }
    }
    report.times.sort_unstable();
    report
}
