//! The bodies of requests and answers, shared by the server and its clients. Shapes only: no IO and no rules.
//!
//! Requests borrow their text from the bytes they are read from, since heartbeats are what a server reads most.
//! What a field's text must look like is the business of the types in [this crate](crate).

use std::borrow::Cow;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::MemberRole;
use crate::{Addr, Metadata, MetadataInput, NodeAddr, Password, Term, Token, UserId, Username};

/// CowStr that is borrowed where it stands in the JSON without escapes. (A plain `Option<Cow<str>>` never borrows.)
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct CowStr<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// `POST /register`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration<'a> {
    /// The name to register.
    #[serde(borrow)]
    pub username: CowStr<'a>,
    /// `IP:PORT`, or `:PORT` for "my address as you see it".
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<CowStr<'a>>,
    /// Asked for again by a repeated registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// A JSON object that is neither deep nor large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataInput>,
}

/// `POST /heartbeat`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat<'a> {
    /// Who is online.
    #[serde(borrow)]
    pub username: CowStr<'a>,
    /// The live address, `IP:PORT` or `:PORT`; absent for the last known one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<CowStr<'a>>,
}

/// The word `"ok"`, which some clients look for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well.
    Ok,
}

/// `GET /status`, `/livez` and `/readyz`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct StatusBody {
    /// Always `"ok"`.
    pub status: Status,
}

/// `GET /`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Always `"ok"`.
    pub status: Status,
    /// Whether this node serves clients at this moment.
    pub is_leader: bool,
    /// Clients online in the whole cluster.
    pub online_clients_count: u64,
    /// The leader's node name, if one is known.
    pub current_leader: Option<NodeAddr>,
    /// The leader's HTTP API, if one is known.
    pub leader_url: Option<String>,
    /// This node's term.
    pub term: Term,
    /// This node's name.
    pub node: NodeAddr,
    /// What this node is.
    pub role: MemberRole,
    /// The program's version.
    pub version: String,
    /// Whole seconds since this process started.
    pub uptime_seconds: u64,
}

/// `GET /leader`, answered by the leader only.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LeaderInfo {
    /// Always `"ok"`.
    pub status: Status,
    /// Always true.
    pub is_leader: bool,
    /// This node's name.
    pub node: NodeAddr,
    /// The term in which it serves.
    pub term: Term,
}

/// `GET /cluster`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Every node, this one included.
    pub nodes: Vec<ClusterNode>,
    /// How many there are.
    pub count: usize,
}

/// One node of the cluster, as the answering node knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterNode {
    /// The node's name.
    pub node: NodeAddr,
    /// Its HTTP API; null until it was heard once.
    pub api_url: Option<String>,
    /// What it said it was; null until it was heard once.
    pub role: Option<MemberRole>,
    /// Whether a connection to it stands.
    pub reachable: bool,
    /// Processor load, 0.0 to 1.0; null until it told.
    pub load: Option<f64>,
    /// The term it told last.
    pub term: Option<Term>,
    /// How long ago it was heard; null if never.
    pub last_heard_ago_ms: Option<u64>,
}

/// The answer to a registration.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// Always true.
    pub success: bool,
    /// Always `"ok"`.
    pub status: Status,
    /// For people.
    pub message: String,
    /// The id of the registration, the same for every repetition of it.
    pub user_id: UserId,
    /// What its requests must carry from now on, if it has a password.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<TokenGrant>,
}

/// A token and how long it is good for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TokenGrant {
    /// To be sent as `Authorization: Bearer <token>`.
    pub token: Token,
    /// RFC 3339, UTC.
    pub token_expires_at: String,
}

/// `POST /login`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Login<'a> {
    /// Who.
    #[serde(borrow)]
    pub username: CowStr<'a>,
    /// The password of the registration.
    pub password: Password,
}

/// `POST /password`: the password is changed, and every token that was given before ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PasswordChange<'a> {
    /// Whose.
    #[serde(borrow)]
    pub username: CowStr<'a>,
    /// The one that is good now.
    pub password: Password,
    /// The one that is to be good from now on.
    pub new_password: Password,
}

/// The answer to a login and to a change of the password.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// Always true.
    pub success: bool,
    /// Always `"ok"`.
    pub status: Status,
    /// For people.
    pub message: String,
    /// The token.
    #[serde(flatten)]
    pub grant: TokenGrant,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// Always true.
    pub success: bool,
    /// Always `"ok"`.
    pub status: Status,
    /// For people.
    pub message: String,
    /// RFC 3339, UTC.
    pub last_seen: String,
    /// How long the client stays online without another heartbeat.
    pub ttl_ms: u64,
    /// When to send the next one.
    pub next_heartbeat_ms: u64,
}

/// `GET /users`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Users {
    /// Sorted by username.
    pub users: Vec<User>,
    /// How many there are in this answer.
    pub count: usize,
}

/// One registered user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// The id of the registration.
    pub id: UserId,
    /// The name.
    pub username: Username,
    /// The live address if one was told, else the registered one.
    pub addr: Option<Addr>,
    /// `"online"` or `"offline"`.
    pub status: Presence,
    /// RFC 3339, UTC.
    pub registered_at: CompactString,
    /// The last heartbeat, RFC 3339 in UTC; null if none is remembered.
    pub last_seen: Option<String>,
    /// What the user gave at registration.
    pub metadata: Metadata,
    /// The same as `status`, for programs.
    pub online: bool,
}

/// Whether a user is online.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// The last heartbeat is younger than the TTL.
    Online,
    /// It is not, or there was none.
    Offline,
}

/// `GET /discover`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Discovered {
    /// Sorted by username.
    pub online_clients: Vec<OnlineClient>,
    /// How many there are in this answer.
    pub count: usize,
    /// Always true: no other node answers.
    pub is_leader: bool,
    /// Whether this is the whole list because the changes since the cursor that was given are not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
    /// With [`Self::reset`]: from where to ask for changes. (Otherwise the header `Rollcall-Cursor` says it.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `GET /discover?since=`: what changed since a list that the client knows.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DiscoveredChanges {
    /// The changes.
    pub changes: ListChanges,
    /// From where to ask for the next ones.
    pub cursor: String,
    /// How many clients are online now.
    pub count: usize,
    /// Always true: no other node answers.
    pub is_leader: bool,
}

/// Changes of the list of who is online, each client once. Who joined or moved belongs into the list with that address,
/// whether it was there or not; who left does not, whether it was there or not.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ListChanges {
    /// Who came online, sorted by name.
    pub joined: Vec<OnlineClient>,
    /// Who went offline, sorted by name.
    pub left: Vec<ClientLeft>,
    /// Who has another address or came back meanwhile, sorted by name.
    pub moved: Vec<OnlineClient>,
}

/// One client that went offline.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ClientLeft {
    /// The name.
    pub username: Username,
    /// Why.
    pub reason: LeftReason,
}

/// Why a client went offline.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeftReason {
    /// No heartbeat came in time.
    Timeout,
}

/// One client that is online.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct OnlineClient {
    /// The name.
    pub username: Username,
    /// Where to reach it; null if it never told.
    pub addr: Option<Addr>,
}

/// `GET /discovery/online`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct OnlineNames {
    /// Sorted.
    pub online: Vec<Username>,
}

/// `GET /discover_with_images`, as a client reads it; the server writes it piece by piece.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DiscoveredWithImages {
    /// Sorted by username.
    pub online_clients: Vec<ClientWithImages>,
    /// How many there are in this answer.
    pub count: usize,
}

/// One client that is online, with its newest pictures.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ClientWithImages {
    /// The name.
    pub username: Username,
    /// Where to reach it; null if it never told.
    pub addr: Option<Addr>,
    /// Oldest first.
    pub images: Vec<InlineImage>,
}

/// A picture inside JSON.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct InlineImage {
    /// The name under which it is stored.
    pub filename: String,
    /// Its bytes in standard base64 with padding.
    pub data: String,
}

/// The answer to an upload.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Always true.
    pub success: bool,
    /// For people.
    pub message: String,
    /// The name under which the picture is stored.
    pub filename: String,
}

/// `GET /images/{username}`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Images {
    /// Names, oldest first.
    pub images: Vec<String>,
    /// How many there are.
    pub count: usize,
}

/// Every answer that is no success.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Always false.
    pub success: bool,
    /// What was wrong with which value, and what is right.
    pub message: String,
    /// A word for programs, such as `not_leader`.
    pub code: Cow<'static, str>,
    /// `"exists"` where a name is taken; older clients look for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'static, str>>,
    /// The leader's node name, where another node leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<NodeAddr>,
    /// The leader's HTTP API, where another node leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_url: Option<String>,
    /// The leader's term, where another node leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<Term>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_borrows_its_text_from_the_body() {
        let beat: Heartbeat = serde_json::from_str(r#"{"username":"alice","addr":"10.0.0.1:9000","x":1}"#).unwrap();
        assert!(matches!(beat.username, CowStr(Cow::Borrowed("alice"))));
        assert!(matches!(beat.addr, Some(CowStr(Cow::Borrowed("10.0.0.1:9000")))));
    }

    #[test]
    fn an_optional_field_may_be_absent_or_null_and_is_not_sent_when_absent() {
        for body in [r#"{"username":"a"}"#, r#"{"username":"a","addr":null,"password":null,"metadata":null}"#] {
            let registration: Registration = serde_json::from_str(body).unwrap();
            assert_eq!(serde_json::to_string(&registration).unwrap(), r#"{"username":"a"}"#);
        }
    }

    #[test]
    fn a_registration_does_not_show_its_password() {
        let registration: Registration = serde_json::from_str(r#"{"username":"a","password":"secret"}"#).unwrap();
        assert!(!format!("{registration:?}").contains("secret"));
        assert!(serde_json::to_string(&registration).unwrap().contains("secret"), "who is asked to send it does");
    }
}
