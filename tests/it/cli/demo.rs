//! `rollcall demo`, tested from outside. The tests find processes in /proc, as on Linux.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::cluster::{Process, http_client, rollcall, until};

/// Number of attempts to start the demo. Another program may take a port after the demo has checked
/// it.
const MAX_STARTS: usize = 3;

struct Demo {
    dir: TempDir,
    process: Process,
    /// Output until the demo was ready.
    screen: String,
}

async fn start() -> Demo {
    start_with(&[]).await
}

/// Starts the demo with these flags.
async fn start_with(flags: &[&str]) -> Demo {
    for _ in 0..MAX_STARTS {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (out, err) = (dir.path().join("screen"), dir.path().join("err"));
        let mut command = rollcall(dir.path());
        command.args(["demo", "--clients", "2", "--dir"]).arg(dir.path().join("demo")).args(flags);
        let mut process = Process::start_without_flag(command, &out, &err);
        let (mut screen, mut ended) = (String::new(), None);
        until("the demo's screen", async || {
            screen = fs::read_to_string(&out).unwrap_or_default();
            ended = process.try_wait();
            ended.is_some() || screen.contains("Ctrl-C ends everything")
        })
        .await;
        match ended {
            None => return Demo { dir, process, screen },
            Some(status) => {
                let why = fs::read_to_string(err).unwrap_or_default();
                assert!(why.contains("cannot listen"), "the demo ended: {status}: {why}");
            }
        }
    }
    panic!("in each attempt another program took one of the ports");
}

impl Demo {
    /// URL of the leader in the first suggested command.
    fn leader_url(&self) -> &str {
        let line = self.screen.lines().find(|line| line.contains("# how is the leader")).expect("it is shown");
        line.split_whitespace().nth(1).expect("a URL").trim_end_matches('/')
    }

    fn leaders_line(&self) -> &str {
        self.screen.lines().find(|line| line.contains("  leader  ")).expect("the leader is shown")
    }

    /// Ids of the processes that use the demo's directory.
    fn processes(&self) -> Vec<u32> {
        processes_of(self.dir.path())
    }
}

/// Ids of the processes with `dir` in their command line or as their working directory. A zombie
/// process has neither.
fn processes_of(dir: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("this test finds processes as Linux shows them");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let is_named = String::from_utf8_lossy(&command).contains(&*dir.to_string_lossy());
        let is_in = fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        is_named || is_in
    })
    .collect()
}

#[tokio::test]
async fn the_commands_of_the_demo_with_tls_work_as_they_are_printed() {
    let demo = start_with(&["--tls"]).await;
    let commands = demo.screen.split("Try in another terminal:\n").nth(1).expect("there are commands");
    let commands: Vec<&str> = commands.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(commands.len(), 6, "{commands:?}");
    for line in &commands {
        assert!(line.contains("https://127.0.0.1:") && !line.contains("http://"), "{line}");
        // The script is in the directory of the sources.
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(line)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("OUTPUT_DIR", demo.dir.path().join("online_clients"))
            .output()
            .expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The leader may have changed meanwhile; the script and the command follow it.
        assert!(output.status.success(), "{line}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!text.is_empty() && !text.contains("https_required"), "{line}: {text}");
    }
}

#[tokio::test]
async fn the_demo_runs_a_cluster_with_clients_and_ctrl_c_stops_everything() {
    let mut demo = start().await;
    assert_eq!(demo.processes().len(), 4, "the demo and three nodes: {}", demo.screen);
    assert!(demo.leaders_line().contains(demo.leader_url()), "{}", demo.screen);
    let http = http_client();
    let health: serde_json::Value =
        http.get(demo.leader_url()).send().await.expect("it answers").json().await.expect("JSON");
    assert_eq!(health["is_leader"], true, "{health}");
    let discover = format!("{}/discover_with_images", demo.leader_url());
    until("two clients with images", async || {
        let list: serde_json::Value = http.get(&discover).send().await.expect("it answers").json().await.expect("JSON");
        let clients = list["online_clients"].as_array().cloned().unwrap_or_default();
        clients.len() == 2 && clients.iter().all(|client| client["images"][0]["data"].is_string())
    })
    .await;

    demo.process.signal(Signal::INT);
    let status = demo.process.wait().await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(demo.processes(), Vec::<u32>::new());
    assert!(demo.dir.path().join("demo/data/bucket").is_dir(), "a directory that was named is kept");
}

#[tokio::test]
async fn a_killed_demo_leaves_no_process_behind() {
    let demo = start().await;
    let Demo { dir, process, .. } = demo;
    process.kill();
    until("the end of all nodes", async || processes_of(dir.path()).is_empty()).await;
}

#[tokio::test]
async fn a_killed_leader_is_reported_with_the_new_leader() {
    let demo = start().await;
    let id =
        demo.leaders_line().split_whitespace().find_map(|word| word.parse::<u32>().ok()).expect("the process is shown");
    assert!(demo.processes().contains(&id), "it is one of the demo's: {}", demo.screen);
    let pid = rustix::process::Pid::from_raw(id.cast_signed()).expect("not 0");
    rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
    let out = demo.dir.path().join("screen");
    until("the report", async || {
        let text = fs::read_to_string(&out).unwrap_or_default();
        text.contains("ended (signal: 9 (SIGKILL))") && text.contains("leader changed from")
    })
    .await;
}
