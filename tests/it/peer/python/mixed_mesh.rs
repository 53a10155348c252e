//! Full mesh of three of our peers and three Python peers, with kills and restarts on both sides.
//! The soak `tests/peers/mixed_mesh.py` does the same for minutes.

use std::time::Duration;

use tokio::time::sleep;

use super::mesh::{MESH, id, wait_until_read};
use super::start;
use crate::cluster::until;
use crate::peer::json_process::JsonProcess;
use crate::peer::peer_process::PeerProcess;

const ROUNDS: u32 = 12;
/// Pause between two rounds, in which each of six peers sends one message: 33 messages a second.
const ROUND_PAUSE: Duration = Duration::from_millis(180);

/// Starts a Python peer that dials these peers. Each run has an id of its own, as with the existing
/// programs: their numbers start again at 1.
async fn start_foreign(run: u32, listen: &str, peers: &[String]) -> JsonProcess {
    let id = id(0xd0 + run);
    let mut flags = vec!["--id", &id, "--listen", listen];
    for peer in peers {
        flags.extend(["--peer", peer]);
    }
    start("mesh.py", &flags).await
}

/// Waits until a Python peer is connected with all five others.
async fn wait_for_links(foreign: &JsonProcess) {
    let linked = |event: &serde_json::Value| event["event"] == "linked";
    until("links to all others", async || {
        foreign.count(linked) >= 5 + foreign.count(|event| event["event"] == "unlinked")
    })
    .await;
}

/// Each peer sends one message a round. Returns the texts of each peer, ours first.
async fn talk(phase: &str, ours: &mut [&mut PeerProcess], theirs: &mut [&mut JsonProcess]) -> Vec<Vec<String>> {
    let mut said = vec![Vec::new(); ours.len() + theirs.len()];
    for round in 0..ROUNDS {
        for (index, texts) in said.iter_mut().enumerate() {
            let text = format!("<{phase}, round {round}, author {index}>");
            match ours.get_mut(index) {
                Some(peer) => peer.type_line(&text),
                None => theirs[index - ours.len()].type_line(&format!("chat {text}")),
            }
            texts.push(text);
        }
        sleep(ROUND_PAUSE).await;
    }
    // Each of ours shows each text of the others once.
    for (own, peer) in ours.iter().enumerate() {
        let others = said.iter().enumerate().filter(|(index, _)| *index != own).flat_map(|(_, texts)| texts);
        let others: Vec<&String> = others.collect();
        until(&format!("all texts of {phase} at {}", peer.name), async || {
            others.iter().all(|text| peer.post_count(text) == 1)
        })
        .await;
    }
    for (own, peer) in theirs.iter().enumerate() {
        let own = own + ours.len();
        let others = said.iter().enumerate().filter(|(index, _)| *index != own).flat_map(|(_, texts)| texts.clone());
        wait_until_read(peer, &others.collect::<Vec<String>>()).await;
    }
    said
}

#[tokio::test]
async fn in_a_mixed_mesh_nothing_is_lost_when_peers_of_both_sides_are_killed_and_restarted() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = PeerProcess::start_with(dir.path(), "alice", &MESH, &[]).await;
    let first = alice.mesh_addr();
    let flags: Vec<&str> = MESH.iter().copied().chain(["--peers", &first]).collect();
    let bob = PeerProcess::start_with(dir.path(), "bob", &flags, &[]).await;
    let mut carol = PeerProcess::start_with(dir.path(), "carol", &flags, &[]).await;
    let mut peers = vec![first.clone(), bob.mesh_addr(), carol.mesh_addr()];
    let mut theirs = Vec::new();
    for run in 0..3 {
        let foreign = start_foreign(run, "127.0.0.1:0", &peers).await;
        peers.push(foreign.ready_field("listen"));
        theirs.push(foreign);
    }
    for foreign in &theirs {
        wait_for_links(foreign).await;
    }
    alice.wait_for_peers(5).await;
    let (mut bob, [mut one, mut two, mut three]) = (bob, <[JsonProcess; 3]>::try_from(theirs).ok().expect("three"));
    talk("all", &mut [&mut alice, &mut bob, &mut carol], &mut [&mut one, &mut two, &mut three]).await;

    bob.kill();
    drop(two);
    talk("four", &mut [&mut alice, &mut carol], &mut [&mut one, &mut three]).await;

    let flags = ["--no-lan", "--listen", &peers[1], "--peers", &first];
    let mut bob = PeerProcess::start_with(dir.path(), "bob", &flags, &[]).await;
    let others: Vec<String> = [0, 1, 2, 3, 5].map(|index: usize| peers[index].clone()).to_vec();
    let mut two = start_foreign(3, &peers[4], &others).await;
    for foreign in [&one, &two, &three] {
        wait_for_links(foreign).await;
    }
    bob.wait_for_peers(5).await;
    talk("again", &mut [&mut alice, &mut bob, &mut carol], &mut [&mut one, &mut two, &mut three]).await;

    let ours = [&alice, &bob, &carol].map(|peer| peer.events()[0]["id"].clone());
    for foreign in [&one, &two, &three] {
        // Two Python peers may link twice, and their links are silent without chat.
        let bad = foreign.find(|event| {
            let is_bad =
                event["event"] == "ignored" || event["connections"].as_u64() > Some(1) || event["why"] == "silent";
            is_bad && ours.contains(&event["id"])
        });
        assert_eq!(bad, None, "at {}", foreign.name);
    }
}
