//! Tests of `tools/peers_demo.sh`, as `make demo` and the other targets call it.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::peer_process::PeerProcess;
use crate::cluster::{rollcall, until};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/peers_demo.sh");
/// Timeout of the script. Its own timeouts are shorter, except on a busy machine.
const SCRIPT_TIME: Duration = Duration::from_secs(90);
/// Number of consecutive ports: six for the peers and six for their metrics.
const PORTS: u16 = 12;

/// Demo with its own directory and ports. Dropping it stops the demo.
struct Demo<'dir> {
    dir: &'dir Path,
    port: u16,
}

impl Demo<'_> {
    async fn run(&self, program: &Path, args: &[&str]) -> Output {
        let mut command = Command::new("bash");
        // Takes the environment from `rollcall()`, which has no variables of this program.
        for (name, value) in rollcall(self.dir).get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        for (name, value) in self.variables() {
            command.env(name, value);
        }
        command.env("ROLLCALL_BIN", program);
        command.arg(SCRIPT).args(args).current_dir(self.dir).stdin(Stdio::null()).kill_on_drop(true);
        timeout(SCRIPT_TIME, command.output()).await.expect("it ends").expect("bash is there")
    }

    fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("DEMO_DIR", self.dir.join("demo").display().to_string()),
            ("DEMO_PORT", self.port.to_string()),
            ("DEMO_METRICS_PORT", (self.port + PORTS / 2).to_string()),
        ]
    }

    /// Runs the script, checks its exit code and returns its output.
    async fn expect_output(&self, args: &[&str], code: i32) -> String {
        self.expect_output_of(Path::new(env!("CARGO_BIN_EXE_rollcall")), args, code).await
    }

    /// Runs the script with another program than `rollcall`.
    async fn expect_output_of(&self, program: &Path, args: &[&str], code: i32) -> String {
        let output = self.run(program, args).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        text
    }

    /// Process ids of the peers.
    fn processes(&self) -> Vec<u32> {
        let is_mine = |name: &str| {
            let command = std::fs::read(format!("/proc/{name}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&*self.dir.join("demo").to_string_lossy())
        };
        let entries = std::fs::read_dir("/proc").expect("a system with /proc");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.parse::<u32>().is_ok() && is_mine(name)).filter_map(|name| name.parse().ok()).collect()
    }
}

impl Drop for Demo<'_> {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("bash");
        command.arg(SCRIPT).arg("stop").envs(self.variables()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = command.status();
    }
}

/// First of [`PORTS`] consecutive free ports, above those of other tests and the ephemeral ports.
fn free_ports() -> u16 {
    // Each test of this process gets different ports.
    static RESERVED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let drawn = std::iter::repeat_with(|| rand::random_range(0..333)).take(1000);
    let mut first = drawn.map(|block: u16| 61_000 + block * PORTS);
    first.find(|port| (*port..*port + PORTS).all(is_free) && reserved.insert(*port)).expect("some ports are free")
}

#[tokio::test]
async fn six_peers_start_show_their_status_receive_from_a_seventh_and_stop_completely() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let demo = Demo { dir: dir.path(), port: free_ports() };
    assert!(demo.expect_output(&["start"], 0).await.contains("Six peers run"));
    assert!(demo.expect_output(&["start"], 0).await.contains("runs already"));
    let pids = demo.processes();
    assert_eq!(pids.len(), 6);
    let status = demo.expect_output(&["status"], 0).await;
    let rows: Vec<Vec<&str>> = status.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names, ["bootstrap", "peer1", "peer2", "peer3", "peer4", "peer5"]);
    for row in &rows {
        assert_eq!(row[2..6], ["running", "5", "0", "0"], "{status}");
        assert!(pids.iter().any(|pid| pid.to_string() == row[1]), "{status}");
    }

    let first = format!("127.0.0.1:{}", demo.port);
    let mut guest =
        PeerProcess::start(dir.path(), "guest", &["--no-lan", "--listen", "127.0.0.1:0", "--peers", &first]).await;
    guest.wait_for_peers(6).await;
    guest.type_line("hello to all six");
    for name in names {
        let log = dir.path().join("demo").join(format!("{name}.log"));
        let has_message = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("hello to all six"));
        until(&format!("a message at {name}"), async || has_message()).await;
    }
    let status = demo.expect_output(&["status"], 0).await;
    let receivers = status.lines().skip(1).filter(|line| line.split_whitespace().nth(5) == Some("1"));
    assert_eq!(receivers.count(), 6, "{status}");
    guest.quit().await;

    let pid = rows[3][1].parse().expect("a process id");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).expect("a process id is not 0"),
        rustix::process::Signal::KILL,
    )
    .expect("it is one of ours");
    until("the end of the killed peer", async || demo.processes().len() == 5).await;
    assert!(demo.expect_output(&["status"], 1).await.contains("down"));
    assert!(demo.expect_output(&["start"], 1).await.contains("in part"));
    assert!(demo.expect_output(&["stop"], 0).await.contains("Stopped 5 peers"));
    assert_eq!(demo.processes(), [0; 0], "nothing is left running");
    demo.expect_output(&["clean"], 0).await;
    assert!(!dir.path().join("demo").exists(), "nothing is left behind");
}

#[tokio::test]
async fn a_port_in_use_is_reported_before_anything_is_started() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let demo = Demo { dir: dir.path(), port: free_ports() };
    let taken = TcpListener::bind(("127.0.0.1", demo.port + 8)).expect("it was free");
    let output = demo.expect_output(&["start"], 1).await;
    assert!(output.contains(&format!("port {} is taken", demo.port + 8)) && output.contains("DEMO_PORT="), "{output}");
    assert!(!dir.path().join("demo").exists());
    drop(taken);
    assert!(demo.expect_output(&["connect", "peer1"], 1).await.contains("does not run"));
    assert!(demo.expect_output(&["connect", "peer9"], 1).await.contains("peer9"));
    demo.expect_output(&["restart"], 2).await;
}

#[tokio::test]
async fn a_process_that_reuses_the_id_of_an_ended_peer_is_not_stopped() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let demo = Demo { dir: dir.path(), port: free_ports() };
    let mut other = Command::new("sleep").arg("60").kill_on_drop(true).spawn().expect("sleep is there");
    let number = other.id().expect("it runs").to_string();
    std::fs::create_dir(dir.path().join("demo")).expect("the directory is ours");
    std::fs::write(dir.path().join("demo/peer1.pid"), number).expect("the directory is ours");
    assert!(demo.expect_output(&["status"], 1).await.lines().skip(1).all(|line| line.contains("down")));
    assert!(demo.expect_output(&["stop"], 0).await.contains("does not run"));
    assert!(other.try_wait().expect("it is our child").is_none(), "it still runs");
}

#[tokio::test]
async fn a_failed_start_reports_the_reason_and_leaves_no_process_running() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broken = dir.path().join("broken");
    let program = env!("CARGO_BIN_EXE_rollcall");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *'--name peer3 '*) echo no luck >&2; exit 1;; esac\nexec {program} \"$@\"\n"
    );
    std::fs::write(&broken, text).expect("the directory is ours");
    std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("the directory is ours");
    let demo = Demo { dir: dir.path(), port: free_ports() };
    let output = demo.expect_output_of(&broken, &["start"], 1).await;
    assert!(output.contains("no luck") && output.contains("peer3 ended"), "{output}");
    assert_eq!(demo.processes(), [0; 0]);
}
