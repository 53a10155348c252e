//! Tests with Python peers of both LAN dialects. All peers of this machine share UDP port 50999, so
//! each test uses unique names and ignores others.

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

/// Broadcast address of all peers of this machine only.
const LOOPBACK: &str = "127.255.255.255";

/// Peer of this program, with the source port of its datagrams.
struct LocalPeer {
    peer: PeerProcess,
    port: u64,
    dir: tempfile::TempDir,
}

impl LocalPeer {
    async fn start(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let peer = PeerProcess::start(dir.path(), &unique(name), &["--listen", "127.0.0.1:0", "--lan"]).await;
        let port = peer.events()[0]["lan_port"].as_u64().expect("a port");
        Self { peer, port, dir }
    }

    /// Whether an event of the other peer came from our peer.
    fn is_from_us(&self, event: &Value) -> bool {
        event["source"][1] == self.port
    }

    /// Whether an event of the other peer is a datagram of our peer, with this type.
    fn is_datagram(&self, event: &Value, kind: &str) -> bool {
        event["event"] == "heard" && event["type"] == kind && self.is_from_us(event)
    }

    /// Waits until our peer lists this user. Returns the entry.
    async fn wait_until_listed(&mut self, uid: &str) -> Value {
        self.wait_until_listed_as(uid, |_| true).await
    }

    /// Waits until our peer lists this user with an entry that matches. Returns the entry.
    async fn wait_until_listed_as(&mut self, uid: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        until(&format!("{uid} to be found"), async || {
            self.peer.type_line("LIST");
            let lists = self.peer.events();
            let listed = lists.iter().rev().filter(|event| event["event"] == "list");
            let mut peers = listed.filter_map(|list| list["peers"].as_array()).flatten();
            found = peers.find(|peer| peer["uid"] == uid && is_wanted(peer)).cloned();
            found.is_some()
        })
        .await;
        found.expect("waited for")
    }

    /// Number of notices that this user follows our peer, or no longer does.
    fn follower_count(&self, uid: &str, follows: bool) -> usize {
        let is_follower = |event: &Value| event["event"] == "follower" && event["from"]["uid"] == *uid;
        self.peer.count(|event| is_follower(event) && event["follows"] == follows)
    }

    /// Writes an image of this size. Returns its path and its base64.
    fn write_image(&self, bytes: usize) -> (PathBuf, String) {
        let mut data = b"\x89PNG\r\n\x1a\n".to_vec();
        data.resize(bytes, 7);
        let path = self.dir.path().join(format!("{bytes}.png"));
        fs::write(&path, &data).expect("room for it");
        (path, STANDARD.encode(data))
    }
}

/// Starts a peer of the draft at a loopback address of its own. It listens at the shared port of
/// that address, so other tests do not receive what is sent to it alone.
async fn draft_peer(name: &str, more: &[&str]) -> JsonProcess {
    let [one, two, three] = [(); 3].map(|()| rand::random_range(1..=254_u8));
    let address = format!("127.{one}.{two}.{three}");
    foreign_peer("draft.py", name, &[&["--claim", &address], more].concat()).await
}

async fn foreign_peer(script: &'static str, name: &str, more: &[&str]) -> JsonProcess {
    let name = unique(name);
    let flags: Vec<&str> = ["--name", &name, "--broadcast", LOOPBACK].into_iter().chain(more.iter().copied()).collect();
    super::start(script, &flags).await
}

/// Exchanges posts, direct messages, profiles with avatars, and lists in both directions, each
/// exactly once.
async fn exchange_all_types(ours: &mut LocalPeer, other: &mut JsonProcess) -> String {
    let uid = other.ready_field("user");
    ours.wait_until_listed(&uid).await;
    let hello = other.wait_for_event("an announcement", |event| ours.is_datagram(event, "PEER_DISCOVERY")).await;
    let our_user_id = hello["fields"]["USER_ID"].as_str().expect("a name").to_owned();
    assert!(our_user_id.starts_with(&format!("{}@", ours.peer.name)), "{our_user_id}");
    assert_eq!(hello["fields"]["PORT"], ours.port.to_string());

    let (to_all, from_other) = (unique("hello "), unique("hi "));
    ours.peer.type_line(&to_all);
    other
        .wait_for_event("a post", |event| ours.is_datagram(event, "POST") && event["fields"]["CONTENT"] == *to_all)
        .await;
    other.type_line(&format!("post {from_other}"));
    assert_eq!(ours.peer.wait_for_post(&from_other).await["uid"], *uid);

    let (to_one, back) = (unique("psst "), unique("yes "));
    ours.peer.type_line(&format!("DM {uid} {to_one}"));
    let direct = other.wait_for_event("a direct message", |event| ours.is_datagram(event, "DM")).await;
    assert_eq!((&direct["fields"]["CONTENT"], &direct["fields"]["TO"]), (&to_one.into(), &(*uid).into()));
    other.type_line(&format!("dm {our_user_id} {back}"));
    let is_direct =
        |event: &Value| event["event"] == "direct" && event["text"] == *back && event["from"]["uid"] == *uid;
    until("a direct message", async || ours.peer.count(is_direct) == 1).await;

    let (path, data) = ours.write_image(MAX_AVATAR_BYTES);
    ours.peer.type_line(&format!("PROFILE Al | here | {}", path.display()));
    let is_shown = |event: &Value| ours.is_datagram(event, "PROFILE") && event["fields"]["STATUS"] == "here";
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
    let (path, _) = ours.write_image(MAX_AVATAR_BYTES + 1);
    other.type_line(&format!("profile Stranger|too large|{}", path.display()));
    until("a refusal", async || profile_of("too large").is_some()).await;
    let refused = profile_of("too large").expect("waited for");
    assert_eq!(refused["profile"]["avatar"], Value::Null);
    assert!(refused["refused"].as_str().is_some_and(|why| why.contains("20481")), "{refused}");

    other.type_line(&format!("ask {our_user_id}"));
    let list = other.wait_for_event("a list", |event| ours.is_datagram(event, "PEER_LIST_RESPONSE")).await;
    let names: Vec<String> = serde_json::from_str(list["fields"]["PEERS"].as_str().expect("a text")).expect("an array");
    assert_eq!(list["fields"]["COUNT"], names.len().to_string());
    assert!(names.contains(&our_user_id) && !names.contains(&uid), "{names:?}");
    until("an answer to our list request", async || {
        // Our peer sends list requests to the peers that it heard last.
        other.type_line("announce");
        ours.peer.type_line("LIST");
        ours.peer.count(|event| event["event"] == "listed" && event["from"]["uid"] == *uid) > 0
    })
    .await;
    let listed =
        ours.peer.events().into_iter().find(|event| event["event"] == "listed" && event["from"]["uid"] == *uid);
    let uids = listed.expect("waited for")["uids"].clone();
    assert!(uids.as_array().expect("names").contains(&Value::from(our_user_id.clone())), "{uids}");

    assert_eq!(
        other.count(|event| event["fields"]["CONTENT"] == *to_all),
        1,
        "received once, and not returned to our peer"
    );
    assert_eq!(ours.peer.post_count(&from_other), 1);
    assert_eq!(ours.peer.post_count(&to_all), 0);
    our_user_id
}

#[tokio::test]
async fn a_peer_of_the_compact_dialect_and_ours_understand_each_other() {
    let mut ours = LocalPeer::start("al").await;
    let mut other = foreign_peer("compact.py", "co", &[]).await;
    exchange_all_types(&mut ours, &mut other).await;
    let is_refused = |event: &Value| event["event"] == "rejected" && ours.is_from_us(event);
    assert_eq!(other.count(is_refused), 0, "it accepts all datagrams of our peer");
}

#[tokio::test]
async fn a_newest_peer_of_the_compact_dialect_accepts_our_tokens_and_its_posts_come_on_request() {
    let mut ours = LocalPeer::start("al").await;
    let mut other = foreign_peer("compact.py", "co", &["--newest"]).await;
    let uid = other.ready_field("user");
    assert_eq!(ours.wait_until_listed(&uid).await["follows_you"], Value::Null);
    let hello = other.wait_for_event("an announcement", |event| ours.is_datagram(event, "PEER_DISCOVERY")).await;
    let our_user_id = hello["fields"]["USER_ID"].as_str().expect("a name").to_owned();
    // We follow nobody unasked, and such a peer posts to its followers only.
    let [unheard, heard, late] = ["unheard ", "heard ", "late "].map(unique);
    other.type_line(&format!("post {unheard}"));
    ours.peer.type_line(&format!("follow {uid}"));
    other.wait_for_event("a follow", |event| ours.is_datagram(event, "FOLLOW")).await;
    other.type_line(&format!("post {heard}"));
    ours.peer.wait_for_post(&heard).await;
    assert_eq!(ours.peer.post_count(&unheard), 0);
    let listed = ours.wait_until_listed_as(&uid, |peer| peer["you_follow"] == true).await;
    assert!(listed["seen_seconds_ago"].is_u64(), "{listed}");

    exchange_all_types(&mut ours, &mut other).await;
    ours.peer.type_line(&format!("UNFOLLOW {uid}"));
    other.wait_for_event("an unfollow", |event| ours.is_datagram(event, "UNFOLLOW")).await;
    other.type_line(&format!("post {late}"));

    // Our posts go to everybody. A follower is shown as one.
    other.type_line(&format!("FOLLOW {our_user_id}"));
    until("a follower", async || ours.follower_count(&uid, true) == 1).await;
    ours.wait_until_listed_as(&uid, |peer| peer["follows_you"] == true).await;
    other.type_line(&format!("unfollow {our_user_id}"));
    until("a former follower", async || ours.follower_count(&uid, false) == 1).await;
    assert_eq!(ours.peer.post_count(&late), 0);
    let is_refused = |event: &Value| event["event"] == "rejected" && ours.is_from_us(event);
    assert_eq!(other.count(is_refused), 0, "it accepts all datagrams of our peer");
}

#[tokio::test]
async fn a_leave_is_announced_and_understood() {
    let mut ours = LocalPeer::start("al").await;
    let mut leaver = foreign_peer("compact.py", "co", &["--newest"]).await;
    let other = foreign_peer("compact.py", "co", &["--newest"]).await;
    let draft = draft_peer("di", &[]).await;
    let uid = leaver.ready_field("user");
    for peer in [&leaver, &other, &draft] {
        ours.wait_until_listed(&peer.ready_field("user")).await;
    }
    leaver.wait_for_event("an announcement", |event| ours.is_datagram(event, "PEER_DISCOVERY")).await;
    leaver.type_line("quit");
    let is_lost = |event: &Value| event["event"] == "lost" && event["peer"]["uid"] == *uid;
    until("its leave", async || ours.peer.count(is_lost) == 1).await;
    ours.peer.type_line("quit");
    for peer in [&other, &draft] {
        peer.wait_for_event("our leave", |event| ours.is_datagram(event, "REVOKE")).await;
    }
}

#[tokio::test]
async fn a_line_that_may_be_meant_for_one_peer_is_not_sent_to_all_and_the_answer_lists_the_peers() {
    let mut ours = LocalPeer::start("al").await;
    let other = foreign_peer("compact.py", "co", &[]).await;
    let uid = other.ready_field("user");
    ours.wait_until_listed(&uid).await;
    let texts = ["dm me ", "DM nobody ", "Follow my lead ", "unfollow nobody"].map(unique);
    for text in &texts {
        ours.peer.type_line(text);
    }
    let chat = unique("list the files please ");
    ours.peer.type_line(&chat);
    other.wait_for_event("the chat", |event| event["fields"]["CONTENT"] == *chat).await;
    let is_refusal = |event: &Value| {
        event["event"] == "refused"
            && event["why"].as_str().is_some_and(|why| why.contains("no peer is called") && why.contains(&uid))
    };
    assert_eq!(ours.peer.count(is_refusal), texts.len());
    let is_sent = |event: &Value| texts.iter().any(|text| event["fields"]["CONTENT"] == **text);
    assert_eq!(other.count(is_sent), 0);
}

#[tokio::test]
async fn a_peer_of_the_draft_dialect_is_found_by_a_ping_and_answered_in_its_dialect() {
    let mut ours = LocalPeer::start("al").await;
    let mut other = draft_peer("di", &["--silent"]).await;
    other.type_line("ping");
    let our_user_id = exchange_all_types(&mut ours, &mut other).await;
    // Our broadcasts are in the compact dialect. The datagrams to this peer alone are in the draft
    // dialect.
    let is_refused = |event: &Value| event["event"] == "rejected" && ours.is_from_us(event) && event["shared"] == false;
    assert_eq!(other.count(is_refused), 0, "it accepts all datagrams that our peer sent to it alone");
    let direct_message = other.wait_for_event("its own message", |event| event["event"] == "sent").await;
    let ack = other.wait_for_event("an ACK", |event| ours.is_datagram(event, "ACK")).await;
    assert_eq!((&ack["fields"]["MESSAGE_ID"], &ack["fields"]["STATUS"]), (&direct_message["id"], &"RECEIVED".into()));
    // In the draft, peers introduce themselves with a profile, so our peer sends its profile
    // without a request.
    assert!(other.find(|event| ours.is_datagram(event, "PROFILE") && event["fields"]["STATUS"] == "").is_some());
    assert_eq!(other.count(|event| ours.is_datagram(event, "ACK")), 1);
    assert!(our_user_id.starts_with(&ours.peer.name));
}

#[tokio::test]
async fn each_peer_is_sent_datagrams_in_its_own_dialect() {
    let mut ours = LocalPeer::start("al").await;
    let (compact, draft) = (foreign_peer("compact.py", "co", &[]).await, draft_peer("di", &[]).await);
    for other in [&compact, &draft] {
        ours.wait_until_listed(&other.ready_field("user")).await;
    }
    let text = unique("to both ");
    ours.peer.type_line(&text);
    for other in [&compact, &draft] {
        other
            .wait_for_event("the post", |event| ours.is_datagram(event, "POST") && event["fields"]["CONTENT"] == *text)
            .await;
    }
}

#[tokio::test]
async fn a_sender_cannot_be_forged_and_a_wrong_address_is_reported() {
    let mut ours = LocalPeer::start("al").await;
    let mut other = foreign_peer("compact.py", "co", &["--claim", "10.9.9.9"]).await;
    let uid = other.ready_field("user");
    assert_eq!(ours.wait_until_listed(&uid).await["mismatched"], true);
    let is_mismatch_event =
        |event: &Value| event["event"] == "mismatch" && event["uid"] == *uid && event["source"] == "127.0.0.1";
    assert_eq!(ours.peer.count(is_mismatch_event), 1);
    let hello = other.wait_for_event("an announcement", |event| ours.is_datagram(event, "PEER_DISCOVERY")).await;
    let our_user_id = hello["fields"]["USER_ID"].as_str().expect("a name").to_owned();

    let text = unique("mine ");
    let forged = format!(
        "TYPE:POST\nUSER_ID:{uid}\nCONTENT:{text}\nUSER_ID:evil@6.6.6.6\nTIMESTAMP:1\nMESSAGE_ID:00000000000000aa\n\n"
    );
    other.type_line(&format!("raw {our_user_id} {}", Value::from(forged)));
    assert_eq!(ours.peer.wait_for_post(&text).await["uid"], *uid);

    // A reader that splits at all Unicode line breaks must not find a second sender in our text.
    let text = unique("a ");
    ours.peer.type_line(&format!("{text}\u{2028}USER_ID:evil@6.6.6.6\u{b}X:1"));
    let is_ours = |event: &Value| event["fields"]["CONTENT"].as_str().is_some_and(|content| content.starts_with(&text));
    let post = other.wait_for_event("the post", |event| ours.is_datagram(event, "POST") && is_ours(event)).await;
    assert_eq!(post["fields"]["USER_ID"], *our_user_id);
}

/// Two peers without a limit on replies exchange thousands of datagrams per second.
#[tokio::test]
async fn a_peer_that_answers_every_answer_causes_no_storm() {
    let mut first = LocalPeer::start("storm").await;
    let mut second = LocalPeer::start("storm").await;
    let mut other = foreign_peer("compact.py", "co", &["--storm", "storm"]).await;
    let uid = other.ready_field("user");
    for ours in [&mut first, &mut second] {
        ours.wait_until_listed(&uid).await;
        let hello = other.wait_for_event("an announcement", |event| ours.is_datagram(event, "PEER_DISCOVERY")).await;
        let our_user_id = hello["fields"]["USER_ID"].as_str().expect("a name").to_owned();
        // Hundreds of answers to an announcement, at both ports.
        for port in ["own", "shared"] {
            other.type_line(&format!("flood 300 {port} same {our_user_id}"));
        }
    }
    until("the floods", async || other.count(|event| event["event"] == "flooded") == 4).await;
    // Enough time for an endless exchange to show in the counts.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for ours in [&first, &second] {
        let received = other.count(|event| ours.is_datagram(event, "PEER_DISCOVERY"));
        // The announcement of our peer on each network path, perhaps its next one, and one answer.
        assert!((1..=12).contains(&received), "{received} announcements");
    }
    other.type_line("counts");
    let counts = other.wait_for_event("its counts", |event| event["event"] == "counts").await;
    let answers = counts["sent"].as_u64().expect("a number") - 1200;
    assert!(answers <= 60, "{answers} answers of the other peer");
}
