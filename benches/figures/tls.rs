//! Cost of TLS: processor time of a heartbeat over TLS, and memory of an idle connection with and
//! without TLS.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rollcall_test_support::certificates::{TestAuthority, client_config};
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::bare_server::BareServer;
use crate::comparison::{MeasuredServer, compare};
use crate::http_client::{HttpConnection, request};
use crate::nodes::{Node, Nodes};
use crate::{Args, builds, load, progress, users};

/// TTL of the clients, in seconds. Longer than any run.
const TTL_SECONDS: u64 = 3600;

/// Time after the last request until a node is idle.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// Certificate of the servers, and TLS of a client that trusts it.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client: Arc<ClientConfig>,
    _dir: TempDir,
}

impl Certificate {
    fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let authority = TestAuthority::new("authority of the benchmark");
        let (cert, key) = authority.issue(|_| ()).write(dir.path(), "node");
        fs::write(dir.path().join("ca.pem"), &authority.cert)?;
        let mut client = client_config(&authority.cert);
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { cert, key, client: Arc::new(client), _dir: dir })
    }
}

pub(crate) fn measure(arguments: &Args) -> anyhow::Result<()> {
    let certificate = Certificate::new()?;
    measure_heartbeat(arguments, &certificate)?;
    let plain = measure_memory(arguments, None)?;
    let with_tls = measure_memory(arguments, Some(&certificate))?;
    println!(
        "memory of an idle connection, {} of them after one request each: {plain} bytes; with TLS {with_tls} bytes",
        arguments.idle_connections
    );
    Ok(())
}

fn measure_heartbeat(arguments: &Args, certificate: &Certificate) -> anyhow::Result<()> {
    let requests = users::heartbeats(arguments.clients);
    let builds = &builds::all(arguments)?[..1];
    progress(&format!("TLS: starting a node with {} users", arguments.clients));
    let fill = |bucket: &std::path::Path| users::fill(bucket, arguments.clients);
    let started = [Nodes::start_with_tls(&builds[0], 1, TTL_SECONDS, &[], Some(certificate), fill)?];
    started[0].leader()?;
    let send = |to, count| {
        let connect = || HttpConnection::connect_with_tls(to, &certificate.client);
        load::send_on(connect, arguments.connections, count, &requests, 200)
    };
    let nodes = MeasuredServer::of_each(builds, &started);
    send(nodes[0].addr, arguments.clients)?;
    let mut first = HttpConnection::connect_with_tls(nodes[0].addr, &certificate.client)?;
    let bare = BareServer::start(&first.send(&requests[0])?.expect(200)?, Some(certificate))?;
    compare("a heartbeat over TLS", arguments.rounds, arguments.heartbeats, &nodes, &bare.server(), |to| {
        send(to, arguments.heartbeats)
    })
}

/// Memory of one idle connection, in bytes.
fn measure_memory(arguments: &Args, certificate: Option<&Certificate>) -> anyhow::Result<u64> {
    let build = &builds::all(arguments)?[0];
    progress(&format!("TLS: {} idle connections", arguments.idle_connections));
    let nodes = Nodes::start_with_tls(build, 1, TTL_SECONDS, &[], certificate, |_| Ok(()))?;
    let node = &nodes.all[nodes.leader()?];
    let open = || -> anyhow::Result<HttpConnection> {
        let mut connection = node.connect()?;
        connection.send(&request("GET", "/livez", "", ""))?.expect(200)?;
        Ok(connection)
    };
    // The first connections fill caches that all later ones share.
    let first = (0..arguments.idle_connections / 10).map(|_| open()).collect::<anyhow::Result<Vec<_>>>()?;
    let before = settled_memory(node)?;
    let idle = (0..arguments.idle_connections).map(|_| open()).collect::<anyhow::Result<Vec<_>>>()?;
    let after = settled_memory(node)?;
    drop((first, idle));
    Ok(after.saturating_sub(before) / arguments.idle_connections)
}

fn settled_memory(node: &Node) -> anyhow::Result<u64> {
    sleep(SETTLE_TIME);
    node.process.private_memory()
}
