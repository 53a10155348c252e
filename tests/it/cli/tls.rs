//! Commands, the script, the chat peer and curl with nodes that have TLS.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::date_time_ymd;
use rollcall_client::testing::health;
use rollcall_client::{Client, ClientError, TrustedAuthorities};
use rollcall_core::{Token, Username};
use rollcall_test_support::certificates::{TestAuthority, TestCertificate, server_config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::download::{download_with_authority, with_alice_and_bob};
use super::shell::Shell;
use crate::cluster::{Cluster, Plan, Process, rollcall, until};

/// The file with the certificate of the cluster's authority.
fn ca(cluster: &Cluster) -> String {
    cluster.dir().join("ca.pem").display().to_string()
}

#[tokio::test]
async fn commands_trust_the_authority_of_a_file_and_follow_the_leader() {
    let cluster = Plan::quick().tls().start().await;
    let (follower, _) = cluster.follower().await;
    let (url, ca) = (cluster.url(follower), ca(&cluster));
    let shell = Shell::new();
    let register = ["register", "--username", "alice", "--addr", "10.0.0.1:9000", "--server", &url];
    let with_password = [&register[..], &["--password", "correct horse"]].concat();
    shell.run(&[&with_password[..], &["--ca", &ca]].concat()).await.code(0);
    let kept = std::fs::read_to_string(shell.path().join("data/client_alice.json")).expect("it was written");
    assert!(kept.contains("https://") && !kept.contains("http://"), "{kept}");
    let by_variable = shell.run_with_env(&["users", "--server", &url], &[("ROLLCALL_CA", &ca)]).await.code(0);
    assert!(by_variable.stdout().contains("alice"), "{}", by_variable.stdout());
    let heartbeats = shell.start("heartbeats", &["start-heartbeat", "--username", "alice", "--ca", &ca]);
    until("alice", async || {
        let online = cluster.lead().get("/discover").await.json();
        online["online_clients"][0]["username"] == "alice"
    })
    .await;
    drop(heartbeats);
}

#[tokio::test]
async fn an_untrusted_node_is_reported_at_once_with_the_remedy() {
    let cluster = Plan::quick().nodes(1).tls().start().await;
    let (url, ca) = (cluster.url(0), ca(&cluster));
    let shell = Shell::new();
    let other = shell.path().join("other.pem");
    std::fs::write(&other, TestAuthority::new("another authority").cert).expect("the directory is ours");
    let (other, plain) = (other.display().to_string(), url.replacen("https", "http", 1));
    let rows: [(&str, &[&str], i32, &[&str]); 5] = [
        (&url, &[], 4, &["no secure connection", "authority that this client does not know", "--ca", "ROLLCALL_CA"]),
        (&url, &["--ca", &other], 4, &["no secure connection", "authority that this client does not know"]),
        (&plain, &[], 1, &["speaks https", &url]),
        (&url, &["--ca", "missing.pem"], 1, &["cannot read the CA file missing.pem"]),
        (&url, &["--ca", "data"], 1, &["CA file data"]),
    ];
    std::fs::create_dir(shell.path().join("data")).expect("the directory is ours");
    for (server, flags, code, words) in rows {
        let result = shell.run(&[&["users", "--server", server], flags].concat()).await.code(code);
        let error = result.error();
        assert!(words.iter().all(|word| error.contains(word)) && !error.contains("gave up"), "{error}");
    }
    shell.run(&["users", "--server", &url, "--ca", &ca]).await.code(0);
}

/// A server with TLS that answers each request with the output of `answer` for its first line.
/// Returns its URL.
async fn secure_server(
    tasks: &mut JoinSet<()>,
    made: &TestCertificate,
    answer: impl Fn(&str) -> (u16, String) + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let acceptor = TlsAcceptor::from(Arc::new(server_config(made)));
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let (status, body) = answer(text.lines().next().unwrap_or_default());
            let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

/// A server with plain HTTP that counts its connections. Returns its URL.
async fn counting_server(tasks: &mut JoinSet<()>, count: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tasks.spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    url
}

#[tokio::test]
async fn the_error_names_what_is_wrong_with_a_certificate() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let authority = TestAuthority::new("authority");
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, &authority.cert).expect("the directory is ours");
    let trusted = TrustedAuthorities::from_pem_file(&path).expect("it is valid");
    let mut tasks = JoinSet::new();
    let expired = authority.issue(|params| {
        (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    });
    let early = authority.issue(|params| params.not_before = date_time_ymd(4000, 1, 1));
    let other_name = authority.issue(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("node-1.example".try_into().expect("a name"))];
    });
    for (made, expected) in [
        (expired, "has expired"),
        (early, "not valid yet"),
        (other_name, "not valid for this host, but for node-1.example"),
    ] {
        let url = secure_server(&mut tasks, &made, |_| health(true, None)).await;
        let client = Client::trusting([&url], Duration::from_secs(10), &trusted).expect("a client");
        let error = client.users().await.expect_err("it is not trusted");
        assert!(matches!(error, ClientError::Tls { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let cluster = Plan::quick().nodes(1).start().await;
    let url = cluster.url(0).replacen("http", "https", 1);
    let client = Client::trusting([&url], Duration::from_secs(10), &trusted).expect("a client");
    let error = client.health(&url).await.expect_err("it speaks plain http").to_string();
    assert!(error.contains("does not speak https"), "{error}");
}

#[tokio::test]
async fn tokens_and_passwords_never_go_from_https_to_http() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let authority = TestAuthority::new("authority");
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, &authority.cert).expect("the directory is ours");
    let trusted = TrustedAuthorities::from_pem_file(&path).expect("it is valid");
    let (mut tasks, count) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    let plain = counting_server(&mut tasks, Arc::clone(&count)).await;
    let leader = plain.clone();
    let url = secure_server(&mut tasks, &authority.issue(|_| ()), move |line| {
        if line.starts_with("GET / ") {
            return health(false, Some(&leader));
        }
        if line.starts_with("GET /cluster ") {
            let node = json!({"node": "127.0.0.1:1", "api_url": leader, "role": "leader", "reachable": true});
            return (200, json!({"nodes": [node]}).to_string());
        }
        (403, json!({"success": false, "message": "m", "code": "not_leader", "leader_url": leader}).to_string())
    })
    .await;
    let client = Client::trusting([&url], Duration::from_secs(2), &trusted).expect("a client");
    client.use_token(Token::new("secret".to_owned()));
    let alice = Username::parse("alice").expect("a name");
    let refused = client.heartbeat(&alice, None).await.expect_err("the leader is not secure").to_string();
    assert!(refused.contains(&plain) && refused.contains("gets no requests"), "{refused}");
    let shell = Shell::new();
    let login = ["login", "--username", "alice", "--password", "secret", "--server", &url, "--ca"];
    shell.run(&[&login[..], &[&path.display().to_string()]].concat()).await.code(4);
    assert_eq!(count.load(Ordering::SeqCst), 0, "no connection was made");
    // The script sends no secret, but its answers could be forged.
    let run = download_with_authority(&url, Some(&path)).await;
    assert_ne!(run.output.status.code(), Some(0));
    assert_eq!(count.load(Ordering::SeqCst), 0, "no connection was made");
}

#[tokio::test]
async fn the_script_downloads_by_https_with_the_authority_of_its_variable() {
    let (cluster, _) = with_alice_and_bob(Plan::documented().tls()).await;
    let (follower, _) = cluster.follower().await;
    let path = cluster.dir().join("ca.pem");
    let run = download_with_authority(&cluster.url(follower), Some(&path)).await;
    run.check_code(0);
    assert!(run.stdout().contains("Leader: https://") && run.stdout().contains("Total: 2 clients, 3 images"));
    for authority in [None, Some(Path::new("/missing.pem"))] {
        let run = download_with_authority(&cluster.url(follower), authority).await;
        run.check_code(1);
        assert!(
            run.stderr().contains("no secure connection") && run.stderr().contains("ROLLCALL_CA"),
            "{}",
            run.stderr()
        );
        assert!(!run.stderr().contains("Waiting for a leader"), "it fails at once: {}", run.stderr());
    }
    let run = download_with_authority(&cluster.url(follower).replacen("https", "http", 1), None).await;
    run.check_code(1);
    assert!(run.stderr().contains(&cluster.url(follower)), "it names the https URL: {}", run.stderr());
}

/// Runs curl with the authority of the cluster.
fn curl(cluster: &Cluster, arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["-q", "-sS", "--max-time", "10", "--cacert"]).arg(cluster.dir().join("ca.pem"));
    command.args(arguments).stdin(Stdio::null()).output().expect("curl is installed")
}

#[tokio::test]
async fn the_documented_commands_of_curl_work_with_its_flag_for_the_authority() {
    let cluster = Plan::documented().nodes(1).tls().start().await;
    cluster.leader().await;
    let url = |path: &str| cluster.url(0) + path;
    let answer = |arguments: &[&str]| -> Value {
        let output = curl(&cluster, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let is_json = ["-H", "Content-Type: application/json", "-d"];
    let alice = r#"{"username": "alice", "addr": "10.40.6.26:9000"}"#;
    assert_eq!(answer(&[&url("/")])["is_leader"], true);
    assert_eq!(answer(&[&["-X", "POST", &url("/register")], &is_json[..], &[alice]].concat())["success"], true);
    assert_eq!(
        answer(&[&["-X", "POST", &url("/heartbeat")], &is_json[..], &[r#"{"username": "alice"}"#]].concat())["success"],
        true
    );
    assert_eq!(answer(&[&url("/discover")])["online_clients"][0]["username"], "alice");
    // TLS 1.2 works too, and HTTP/2 is not chosen.
    assert_eq!(answer(&["--tls-max", "1.2", &url("/status")])["status"], "ok");
    let version = curl(&cluster, &["--http2", "-o", "/dev/null", "-w", "%{http_version}", &url("/status")]);
    assert_eq!(String::from_utf8_lossy(&version.stdout), "1.1");
    let untrusted = Command::new("curl").args(["-q", "-sS", &url("/")]).output().expect("curl is installed");
    assert_eq!(untrusted.status.code(), Some(60), "{}", String::from_utf8_lossy(&untrusted.stderr));
}

#[tokio::test]
async fn a_chat_peer_registers_at_a_node_whose_authority_it_is_given() {
    let cluster = Plan::quick().nodes(1).tls().start().await;
    cluster.leader().await;
    let (url, ca) = (cluster.url(0), ca(&cluster));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let start = |name: &str, flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = rollcall(dir.path());
        command.args(["peer", "--name", name, "--no-lan", "--listen", "127.0.0.1:0", "--json", "--registry", &url]);
        command.args(flags).envs(variables.iter().copied());
        let (out, err) = (dir.path().join(format!("{name}.out")), dir.path().join(format!("{name}.err")));
        (Process::start_without_flag(command, &out, &err), err)
    };
    let _by_flag = start("alice", &["--registry-ca", &ca], &[]);
    let _by_variable = start("bob", &[], &[("ROLLCALL_CA", &ca)]);
    let (_untrusting, log) = start("carol", &[], &[]);
    until("alice and bob", async || {
        let online = cluster.at(0).get("/discover").await.json();
        let names = online["online_clients"].as_array().map(|all| all.iter().map(|one| one["username"].clone()));
        names.is_some_and(|names| names.eq(["alice", "bob"].map(Value::from)))
    })
    .await;
    until("carol's log", async || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("authority that this client does not know"))
    })
    .await;
    let (mut wrong, log) = start("dave", &["--registry-ca", "missing.pem"], &[]);
    assert!(!wrong.wait().await.success());
    assert!(std::fs::read_to_string(log).expect("a log").contains("cannot read the CA file missing.pem"));
}
