//! Instructions that the demo prints when the cluster is ready.

use std::path::Path;

use super::node_processes::DemoNode;
use super::work_dir::{WorkDir, shell_line};

/// The instructions: a table of the nodes, commands to try, and how to stop the demo. `ca`: the
/// certificate of the authority, if the nodes have TLS.
pub(super) fn instructions(
    nodes: &[DemoNode],
    leader: usize,
    clients: u16,
    folder: &WorkDir,
    ca: Option<&Path>,
) -> String {
    let url = &nodes[leader].url;
    let pid = nodes[leader].pid;
    let rows: String = nodes.iter().enumerate().map(|(index, node)| row(node, index == leader)).collect();
    let folder_line = match (folder.is_temporary(), folder.path().display()) {
        (true, path) => format!("{path} (removed at the end)"),
        (false, path) => format!("{path} (kept)"),
    };
    let (curl, variable, more) = match ca {
        Some(ca) => with_ca(ca, &nodes[leader]),
        None => ("curl".to_owned(), String::new(), String::new()),
    };
    format!(
        r#"
  NODE             API                     ROLE      PROCESS  LOG
{rows}
  {clients} sample clients send heartbeats. Everything is in {folder_line}

Try in another terminal:
  {curl} {url}/                       # how is the leader
  {curl} {url}/discover               # who is online
  {curl} {url}/discover_with_images   # the same with pictures
  {curl} {url}/register -d '{{"username":"me","addr":"127.0.0.1:9999"}}' && {curl} {url}/heartbeat -d '{{"username":"me"}}'
  {variable}./download_online_clients.sh {url}
{more}
Kill the leader and watch another take over:
  kill -9 {pid}

Ctrl-C ends everything. Changes of the cluster from now on:
"#
    )
}

/// The words of commands that trust the authority: `curl` with its flag, the variable of the
/// script, and a further line with a command of this program.
fn with_ca(ca: &Path, leader: &DemoNode) -> (String, String, String) {
    let ca = shell_line([&ca.as_os_str().to_owned()]);
    let program = shell_line(leader.command.first());
    let more = format!("  {program} list-online --server {} --ca {ca}\n", leader.url);
    (format!("curl --cacert {ca}"), format!("ROLLCALL_CA={ca} "), more)
}

/// One line of the table of nodes.
fn row(node: &DemoNode, leads: bool) -> String {
    let role = if leads { "leader" } else { "follower" };
    let log = node.log.file_name().unwrap_or_default().to_string_lossy();
    format!("  {:<15}  {:<22}  {role:<8}  {:<7}  {log}\n", node.name, node.url, node.pid)
}

/// Hint with the command that restarts a node.
pub(super) fn restart_hint(node: &DemoNode) -> String {
    format!("to start it again: {}", shell_line(&node.command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instructions_name_the_current_leader_everywhere() {
        let node = |n: u32| DemoNode {
            name: format!("127.0.0.1:808{n}"),
            url: format!("http://127.0.0.1:300{n}"),
            pid: 4000 + n,
            log: format!("/tmp/x/node-808{n}.log").into(),
            command: ["rollcall".into(), "--this-node".into(), format!("127.0.0.1:808{n}").into()].into(),
        };
        let folder = WorkDir::temporary().unwrap();
        let screen = instructions(&[node(0), node(1), node(2)], 1, 5, &folder, None);
        assert!(
            screen.contains("  127.0.0.1:8081   http://127.0.0.1:3001   leader    4001     node-8081.log\n"),
            "{screen}"
        );
        assert!(
            screen.contains("  127.0.0.1:8082   http://127.0.0.1:3002   follower  4002     node-8082.log\n"),
            "{screen}"
        );
        assert!(screen.contains("kill -9 4001\n"));
        assert!(screen.contains(r#"curl http://127.0.0.1:3001/heartbeat -d '{"username":"me"}'"#));
        assert!(screen.contains("./download_online_clients.sh http://127.0.0.1:3001\n"));
        assert!(screen.contains(&format!("{} (removed at the end)", folder.path().display())));
        let secure = instructions(&[node(0), node(1), node(2)], 1, 5, &folder, Some(Path::new("/tmp/a b/ca.pem")));
        assert!(secure.contains("  curl --cacert '/tmp/a b/ca.pem' http://127.0.0.1:3001/discover "), "{secure}");
        assert!(secure.contains("  ROLLCALL_CA='/tmp/a b/ca.pem' ./download_online_clients.sh http"), "{secure}");
        assert!(secure.contains("  rollcall list-online --server http://127.0.0.1:3001 --ca '/tmp/a b/ca.pem'\n"));
        assert_eq!(restart_hint(&node(2)), "to start it again: rollcall --this-node 127.0.0.1:8082");
    }
}
