//! Tests with real peer processes on the LAN. They share UDP port 50999 with all other peers of
//! this machine, so each test uses unique names and ignores other peers.

use super::peer_process::PeerProcess;
use crate::cluster::until;

/// Name that no other test run on this machine has.
pub(super) fn unique(name: &str) -> String {
    format!("{name}{:08x}", rand::random::<u32>())
}

#[tokio::test]
async fn two_peers_of_one_machine_find_each_other_and_talk_without_the_mesh() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let names = [unique("al"), unique("bo")];
    let flags = ["--listen", "127.0.0.1:0", "--lan"];
    let mut al = PeerProcess::start(dir.path(), &names[0], &flags).await;
    let mut bo = PeerProcess::start(dir.path(), &names[1], &flags).await;
    let found = |peer: &PeerProcess, name: &str| {
        peer.count(|event| {
            let uid = event["peer"]["uid"].as_str().unwrap_or_default();
            event["event"] == "found" && event["peer"]["via"] == "lan" && uid.starts_with(&format!("{name}@"))
        }) == 1
    };
    until("announcements", async || found(&al, &names[1]) && found(&bo, &names[0])).await;
    let text = unique("hello ");
    al.type_line(&text);
    assert_eq!(bo.wait_for_post(&text).await["via"], "lan");
    let secret = unique("psst ");
    bo.type_line(&format!("DM {} {secret}", names[0]));
    until("a direct message", async || al.count(|event| event["event"] == "direct" && event["text"] == *secret) == 1)
        .await;
    assert_eq!((bo.post_count(&text), al.post_count(&secret)), (1, 0));
    bo.type_line(&format!("PROFILE {} | here", names[1]));
    until("a profile", async || {
        al.count(|event| event["event"] == "profile" && event["profile"]["display_name"] == *names[1]) == 1
    })
    .await;
}

#[tokio::test]
async fn peers_on_both_transports_receive_each_post_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let names = [unique("al"), unique("bo")];
    let mut al = PeerProcess::start(dir.path(), &names[0], &["--listen", "127.0.0.1:0", "--lan"]).await;
    let first = al.mesh_addr();
    let bo = PeerProcess::start(dir.path(), &names[1], &["--listen", "127.0.0.1:0", "--lan", "--peers", &first]).await;
    let found_count = |via: &str| {
        al.count(|event| {
            let uid = event["peer"]["uid"].as_str().unwrap_or_default();
            event["event"] == "found" && event["peer"]["via"] == via && uid.starts_with(&names[1])
        })
    };
    until("bo on the LAN", async || found_count("lan") == 1).await;
    until("bo on the mesh", async || {
        al.count(|event| event["event"] == "found" && event["peer"]["via"] == "mesh") == 1
    })
    .await;
    let texts: Vec<String> = (0..20).map(|_| unique("both ")).collect();
    for text in &texts {
        al.type_line(text);
    }
    for text in &texts {
        bo.wait_for_post(text).await;
    }
    assert!(texts.iter().all(|text| bo.post_count(text) == 1));
}
