//! Both dialects of the LAN. UDP port 50999 is this machine's, so each test has names of its own and does not mind others.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rollcall_chat::MAX_AVATAR_BYTES;
use serde_json::Value;

use crate::cluster::until;
use crate::peer::json_process::JsonProcess;
use crate::peer::lan_processes::unique;
use crate::peer::peer_process::PeerProcess;

/// Everybody on this machine, and nobody beyond it.
const LOOPBACK: &str = "127.255.255.255";

/// Our peer, and where its datagrams come from.
struct Ours {
    peer: PeerProcess,
    port: u64,
    dir: tempfile::TempDir,
}

impl Ours {
    async fn start(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let peer = PeerProcess::start(dir.path(), &unique(name), &["--listen", "127.0.0.1:0", "--lan"]).await;
        let port = peer.events()[0]["lan_port"].as_u64().expect("a port");
        Self { peer, port, dir }
    }

    /// Whether another peer heard an event from our peer.
    fn sent(&self, event: &Value) -> bool {
        event["source"][1] == self.port
    }

    /// Whether it is a datagram of ours of this type, as another peer heard it.
    fn said(&self, event: &Value, kind: &str) -> bool {
        event["event"] == "heard" && event["type"] == kind && self.sent(event)
    }

    /// Waits until it knows somebody; the line of its list.
    async fn finds(&mut self, uid: &str) -> Value {
        let mut found = None;
        until(&format!("{uid} to be found"), async || {
            self.peer.type_line("LIST");
            let lists = self.peer.events();
            let listed = lists.iter().rev().filter(|event| event["event"] == "list");
            let mut peers = listed.filter_map(|list| list["peers"].as_array()).flatten();
            found = peers.find(|peer| peer["uid"] == uid).cloned();
            found.is_some()
        })
        .await;
        found.expect("waited for")
    }

    /// A picture of so many bytes.
    fn picture(&self, bytes: usize) -> (PathBuf, String) {
        let mut data = b"\x89PNG\r\n\x1a\n".to_vec();
        data.resize(bytes, 7);
        let path = self.dir.path().join(format!("{bytes}.png"));
        fs::write(&path, &data).expect("room for it");
        (path, STANDARD.encode(data))
    }
}

async fn stranger(script: &'static str, name: &str, more: &[&str]) -> JsonProcess {
    let name = unique(name);
    let flags: Vec<&str> = ["--name", &name, "--broadcast", LOOPBACK].into_iter().chain(more.iter().copied()).collect();
    super::start(script, &flags).await
}

/// Says something each way, to all and to one, and shows pictures; each is heard exactly once.
async fn talk(ours: &mut Ours, other: &mut JsonProcess) -> String {
    let uid = other.ready_field("user");
    ours.finds(&uid).await;
    let hello = other.wait_for_event("an announcement", |event| ours.said(event, "PEER_DISCOVERY")).await;
    let ours_is = hello["fields"]["USER_ID"].as_str().expect("a name").to_owned();
    assert!(ours_is.starts_with(&format!("{}@", ours.peer.name)), "{ours_is}");
    assert_eq!(hello["fields"]["PORT"], ours.port.to_string());

    let (to_all, from_other) = (unique("hello "), unique("hi "));
    ours.peer.type_line(&to_all);
    other.wait_for_event("a post", |event| ours.said(event, "POST") && event["fields"]["CONTENT"] == *to_all).await;
    other.type_line(&format!("post {from_other}"));
    assert_eq!(ours.peer.wait_for_post(&from_other).await["uid"], *uid);

    let (to_one, back) = (unique("psst "), unique("yes "));
    ours.peer.type_line(&format!("DM {uid} {to_one}"));
    let direct = other.wait_for_event("a direct message", |event| ours.said(event, "DM")).await;
    assert_eq!((&direct["fields"]["CONTENT"], &direct["fields"]["TO"]), (&to_one.into(), &(*uid).into()));
    other.type_line(&format!("dm {ours_is} {back}"));
    let is_direct =
        |event: &Value| event["event"] == "direct" && event["text"] == *back && event["from"]["uid"] == *uid;
    until("a direct message", async || ours.peer.count(is_direct) == 1).await;

    let (path, data) = ours.picture(MAX_AVATAR_BYTES);
    ours.peer.type_line(&format!("PROFILE Al | here | {}", path.display()));
    let is_shown = |event: &Value| ours.said(event, "PROFILE") && event["fields"]["STATUS"] == "here";
    let profile = other.wait_for_event("a profile", |event| is_shown(event)).await;
    assert_eq!(profile["fields"]["AVATAR_DATA"], *data);
    assert_eq!(
        (&profile["fields"]["AVATAR_ENCODING"], &profile["fields"]["DISPLAY_NAME"]),
        (&"base64".into(), &"Al".into())
    );
    let profile_of = |status: &str| {
        let events = ours.peer.events().into_iter();
        let mut profiles = events.filter(|event| event["event"] == "profile" && event["from"]["uid"] == *uid);
        profiles.find(|event| event["profile"]["status"] == status)
    };
    other.type_line(&format!("profile Stranger|fits|{}", path.display()));
    until("a picture", async || profile_of("fits").is_some()).await;
    let shown = profile_of("fits").expect("waited for");
    assert_eq!((&shown["profile"]["avatar"]["data"], &shown["refused"]), (&data.into(), &Value::Null));
    let (path, _) = ours.picture(MAX_AVATAR_BYTES + 1);
    other.type_line(&format!("profile Stranger|too large|{}", path.display()));
    until("a refusal", async || profile_of("too large").is_some()).await;
    let refused = profile_of("too large").expect("waited for");
    assert_eq!(refused["profile"]["avatar"], Value::Null);
    assert!(refused["refused"].as_str().is_some_and(|why| why.contains("20481")), "{refused}");

    other.type_line(&format!("ask {ours_is}"));
    let list = other.wait_for_event("a list", |event| ours.said(event, "PEER_LIST_RESPONSE")).await;
    let names: Vec<String> = serde_json::from_str(list["fields"]["PEERS"].as_str().expect("a text")).expect("an array");
    assert_eq!(list["fields"]["COUNT"], names.len().to_string());
    assert!(names.contains(&ours_is) && !names.contains(&uid), "{names:?}");
    until("an answer to our question", async || {
        // Those are asked who were heard last.
        other.type_line("announce");
        ours.peer.type_line("LIST");
        ours.peer.count(|event| event["event"] == "listed" && event["from"]["uid"] == *uid) > 0
    })
    .await;
    let listed =
        ours.peer.events().into_iter().find(|event| event["event"] == "listed" && event["from"]["uid"] == *uid);
    let uids = listed.expect("waited for")["uids"].clone();
    assert!(uids.as_array().expect("names").contains(&Value::from(ours_is.clone())), "{uids}");

    assert_eq!(other.count(|event| event["fields"]["CONTENT"] == *to_all), 1, "once, and nothing comes back");
    assert_eq!(ours.peer.post_count(&from_other), 1);
    assert_eq!(ours.peer.post_count(&to_all), 0);
    ours_is
}

#[tokio::test]
async fn a_peer_of_the_compact_dialect_and_ours_understand_each_other() {
    let mut ours = Ours::start("al").await;
    let mut other = stranger("compact.py", "co", &[]).await;
    talk(&mut ours, &mut other).await;
    let is_refused = |event: &Value| event["event"] == "rejected" && ours.sent(event);
    assert_eq!(other.count(is_refused), 0, "it takes everything that ours says");
}

#[tokio::test]
async fn a_peer_of_the_draft_is_found_by_a_ping_and_answered_in_its_dialect() {
    let mut ours = Ours::start("al").await;
    let mut other = stranger("draft.py", "di", &["--silent"]).await;
    other.type_line("ping");
    let ours_is = talk(&mut ours, &mut other).await;
    // What is shouted to all is compact; what is sent to this one is not.
    let is_refused = |event: &Value| event["event"] == "rejected" && ours.sent(event) && event["shared"] == false;
    assert_eq!(other.count(is_refused), 0, "it takes everything that ours says to it");
    let sent = other.wait_for_event("its own message", |event| event["event"] == "sent").await;
    let ack = other.wait_for_event("an ACK", |event| ours.said(event, "ACK")).await;
    assert_eq!((&ack["fields"]["MESSAGE_ID"], &ack["fields"]["STATUS"]), (&sent["id"], &"RECEIVED".into()));
    // It knows others by their profiles, so ours has told its own without being asked.
    assert!(other.find(|event| ours.said(event, "PROFILE") && event["fields"]["STATUS"] == "").is_some());
    assert_eq!(other.count(|event| ours.said(event, "ACK")), 1);
    assert!(ours_is.starts_with(&ours.peer.name));
}

#[tokio::test]
async fn one_peer_speaks_to_each_of_two_in_its_own_dialect() {
    let mut ours = Ours::start("al").await;
    let (compact, draft) = (stranger("compact.py", "co", &[]).await, stranger("draft.py", "di", &[]).await);
    for other in [&compact, &draft] {
        ours.finds(&other.ready_field("user")).await;
    }
    let text = unique("to both ");
    ours.peer.type_line(&text);
    for other in [&compact, &draft] {
        other.wait_for_event("the post", |event| ours.said(event, "POST") && event["fields"]["CONTENT"] == *text).await;
    }
}

#[tokio::test]
async fn nobody_forges_a_sender_and_a_wrong_address_is_shown() {
    let mut ours = Ours::start("al").await;
    let mut other = stranger("compact.py", "co", &["--claim", "10.9.9.9"]).await;
    let uid = other.ready_field("user");
    assert_eq!(ours.finds(&uid).await["mismatched"], true);
    let is_told =
        |event: &Value| event["event"] == "mismatch" && event["uid"] == *uid && event["source"] == "127.0.0.1";
    assert_eq!(ours.peer.count(is_told), 1);
    let hello = other.wait_for_event("an announcement", |event| ours.said(event, "PEER_DISCOVERY")).await;
    let ours_is = hello["fields"]["USER_ID"].as_str().expect("a name").to_owned();

    let text = unique("mine ");
    let forged = format!(
        "TYPE:POST\nUSER_ID:{uid}\nCONTENT:{text}\nUSER_ID:evil@6.6.6.6\nTIMESTAMP:1\nMESSAGE_ID:00000000000000aa\n\n"
    );
    other.type_line(&format!("raw {ours_is} {}", Value::from(forged)));
    assert_eq!(ours.peer.wait_for_post(&text).await["uid"], *uid);

    // A reader that ends lines wherever Unicode does must not find a second sender in our text.
    let text = unique("a ");
    ours.peer.type_line(&format!("{text}\u{2028}USER_ID:evil@6.6.6.6\u{b}X:1"));
    let is_ours = |event: &Value| event["fields"]["CONTENT"].as_str().is_some_and(|said| said.starts_with(&text));
    let post = other.wait_for_event("the post", |event| ours.said(event, "POST") && is_ours(event)).await;
    assert_eq!(post["fields"]["USER_ID"], *ours_is);
}

/// Beside a peer that answers everything, ours stays calm: two of the kind that this stands for exchanged ten thousand
/// datagrams a second.
#[tokio::test]
async fn a_peer_that_answers_every_answer_causes_no_storm() {
    let mut first = Ours::start("storm").await;
    let mut second = Ours::start("storm").await;
    let mut other = stranger("compact.py", "co", &["--storm", "storm"]).await;
    let uid = other.ready_field("user");
    for ours in [&mut first, &mut second] {
        ours.finds(&uid).await;
        let hello = other.wait_for_event("an announcement", |event| ours.said(event, "PEER_DISCOVERY")).await;
        let ours_is = hello["fields"]["USER_ID"].as_str().expect("a name").to_owned();
        // An answer to each announcement, by hundreds, at both ports.
        for port in ["own", "shared"] {
            other.type_line(&format!("flood 300 {port} same {ours_is}"));
        }
    }
    until("the floods", async || other.count(|event| event["event"] == "flooded") == 4).await;
    // A storm would have come up by now, and would go on.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for ours in [&first, &second] {
        let heard = other.count(|event| ours.said(event, "PEER_DISCOVERY"));
        // Its own announcement by every way that leads here, the next one if this takes long, and one answer.
        assert!((1..=12).contains(&heard), "{heard} announcements");
    }
    other.type_line("counts");
    let counts = other.wait_for_event("its counts", |event| event["event"] == "counts").await;
    let sent = counts["sent"].as_u64().expect("a number") - 1200;
    assert!(sent <= 60, "{sent} answers were asked for");
}
