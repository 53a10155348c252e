//! Request and response bodies of the HTTP API, shared by the server and its clients.
//!
//! The types describe the JSON only. They do no I/O and check no rules; the value types of [this
//! crate](crate) check the text of a field. Requests borrow their text from the received bytes,
//! because the server reads many heartbeats.

mod addr_or_empty;

use std::borrow::Cow;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::MemberRole;
use crate::{Addr, Metadata, MetadataInput, NodeAddr, Password, Term, Token, UserId, Username};

/// JSON string that borrows from the input if it contains no escapes.
///
/// It is needed because serde never borrows into a plain `Option<Cow<str>>`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct CowStr<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Body of `POST /register`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration<'a> {
    /// The name to register.
    #[serde(borrow)]
    pub username: CowStr<'a>,
    /// `IP:PORT`, or `:PORT` for the source address of the request. Empty text counts as absent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<CowStr<'a>>,
    /// Password of the user. A repeated registration must contain the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// Public metadata: a small JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataInput>,
}

/// Body of `POST /heartbeat`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat<'a> {
    /// Name of the user that is online.
    #[serde(borrow)]
    pub username: CowStr<'a>,
    /// Current address, `IP:PORT` or `:PORT`. Without it, the last known address stays. Empty text
    /// counts as absent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<CowStr<'a>>,
}

/// The string `"ok"`, which older clients expect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `"ok"`.
    Ok,
}

/// The string `"rollcall"`, by which clients tell this service from others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// `"rollcall"`.
    #[default]
    Rollcall,
}

/// Response of `GET /livez` and `/readyz`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct StatusBody {
    /// Always `"ok"`.
    pub status: Status,
}

/// Response of `GET /status`, which older clients use as a health check.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LeaderStatus {
    /// Always `"ok"`.
    pub status: Status,
    /// Whether this node is the leader and serves clients now.
    pub is_leader: bool,
}

/// Response of `GET /`: health of the node that responds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Always `"ok"`.
    pub status: Status,
    /// Whether this node is the leader and serves clients now.
    pub is_leader: bool,
    /// Number of online clients in the whole cluster.
    pub online_clients_count: u64,
    /// Node name of the leader; null if this node knows no leader.
    pub current_leader: Option<NodeAddr>,
    /// Base URL of the leader's HTTP API; null if this node does not know it.
    pub leader_url: Option<String>,
    /// Current term of this node.
    pub term: Term,
    /// Name of this node.
    pub node: NodeAddr,
    /// Role of this node.
    pub role: MemberRole,
    /// Always `"rollcall"`. The first version did not send it.
    #[serde(default)]
    pub service: Service,
    /// Version of the program.
    pub version: String,
    /// Whole seconds since this process started.
    pub uptime_seconds: u64,
}

/// Response of `GET /leader`. Only the leader sends it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LeaderInfo {
    /// Always `"ok"`.
    pub status: Status,
    /// Always true.
    pub is_leader: bool,
    /// Name of this node.
    pub node: NodeAddr,
    /// Term in which this node leads.
    pub term: Term,
}

/// Response of `GET /cluster`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// All nodes, this one included.
    pub nodes: Vec<ClusterNode>,
    /// Number of nodes.
    pub count: usize,
}

/// One node of the cluster, as the responding node knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterNode {
    /// Name of the node.
    pub node: NodeAddr,
    /// Base URL of its HTTP API; null before its first message.
    pub api_url: Option<String>,
    /// Role that it reported last; null before its first message.
    pub role: Option<MemberRole>,
    /// Whether the responding node has a connection to it.
    pub reachable: bool,
    /// Processor load that it reported last, 0.0 to 1.0; null before its first report.
    pub load: Option<f64>,
    /// Term that it reported last; null before its first message.
    pub term: Option<Term>,
    /// Milliseconds since its last message; null before its first message.
    pub last_heard_ago_ms: Option<u64>,
}

/// Response of `POST /register`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// Always true.
    pub success: bool,
    /// Always `"ok"`.
    pub status: Status,
    /// Text for people.
    pub message: String,
    /// Id of the registration. A repeated registration returns the same id.
    pub user_id: UserId,
    /// Token for later requests; only for a user with a password.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<TokenGrant>,
}

/// Bearer token and its expiry time.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TokenGrant {
    /// The token, to be sent as `Authorization: Bearer <token>`.
    pub token: Token,
    /// Expiry time: RFC 3339, UTC.
    pub token_expires_at: String,
}

/// Body of `POST /login`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Login<'a> {
    /// Name of the user.
    #[serde(borrow)]
    pub username: CowStr<'a>,
    /// Password of the user.
    pub password: Password,
}

/// Body of `POST /password`, which changes the password and invalidates all earlier tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PasswordChange<'a> {
    /// Name of the user.
    #[serde(borrow)]
    pub username: CowStr<'a>,
    /// Current password.
    pub password: Password,
    /// New password.
    pub new_password: Password,
}

/// Response of `POST /login` and `POST /password`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// Always true.
    pub success: bool,
    /// Always `"ok"`.
    pub status: Status,
    /// Text for people.
    pub message: String,
    /// The new token.
    #[serde(flatten)]
    pub grant: TokenGrant,
}

/// Response of `POST /heartbeat`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// Always true.
    pub success: bool,
    /// Always `"ok"`.
    pub status: Status,
    /// Text for people.
    pub message: String,
    /// Time of this heartbeat: RFC 3339, UTC.
    pub last_seen: String,
    /// Time to live: the client goes offline this many milliseconds after its last heartbeat.
    pub ttl_ms: u64,
    /// Suggested delay until the next heartbeat, in milliseconds.
    pub next_heartbeat_ms: u64,
}

/// Response of `GET /users`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Users {
    /// The users, sorted by username.
    pub users: Vec<User>,
    /// Number of users in this response.
    pub count: usize,
}

/// One registered user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Id of the registration.
    pub id: UserId,
    /// Name of the user.
    pub username: Username,
    /// Latest address that a heartbeat contained, else the registered address. In JSON `""` if
    /// there is none.
    #[serde(with = "addr_or_empty", default)]
    pub addr: Option<Addr>,
    /// `"online"` or `"offline"`.
    pub status: Presence,
    /// Time of the registration: RFC 3339, UTC.
    pub registered_at: CompactString,
    /// Time of the last known heartbeat, RFC 3339 in UTC; null if there is none.
    pub last_seen: Option<String>,
    /// Metadata given at registration.
    pub metadata: Metadata,
    /// The same as `status`, as a boolean.
    pub online: bool,
}

/// Whether a user is online.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// The last heartbeat is younger than the TTL.
    Online,
    /// The last heartbeat is as old as the TTL or older, or there was none.
    Offline,
}

/// Response of `GET /discover`: the online clients.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Discovered {
    /// The online clients, sorted by username.
    pub online_clients: Vec<OnlineClient>,
    /// Number of clients in this response.
    pub count: usize,
    /// False if a follower answers with a stale list, which a client must request explicitly.
    pub is_leader: bool,
    /// True if the client asked for changes that the node does not know. The client must then
    /// replace its list with this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
    /// Cursor for the next request for changes, if [`Self::reset`] is true. Otherwise the header
    /// `Rollcall-Cursor` contains the cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Response of `GET /discover?since=`: changes since the client's last cursor.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DiscoveredChanges {
    /// The changes.
    pub changes: ListChanges,
    /// Cursor for the next request for changes.
    pub cursor: String,
    /// Number of clients that are online now.
    pub count: usize,
    /// Always true, because only the leader answers this request.
    pub is_leader: bool,
}

/// Changes of the list of online clients, each client once.
///
/// Applying the changes is idempotent. A client in `joined` or `moved` must be in the list with
/// that address afterwards, whether it was in the list before or not. A client in `left` must not
/// be in the list afterwards.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ListChanges {
    /// Clients that came online, sorted by name.
    pub joined: Vec<OnlineClient>,
    /// Clients that went offline, sorted by name.
    pub left: Vec<ClientLeft>,
    /// Clients that changed their address, or went offline and came back, sorted by name.
    pub moved: Vec<OnlineClient>,
}

/// A client that went offline.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ClientLeft {
    /// Name of the user.
    pub username: Username,
    /// Reason why it went offline.
    pub reason: LeftReason,
}

/// Reason why a client went offline.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeftReason {
    /// No heartbeat arrived within the TTL.
    Timeout,
}

/// An online client.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct OnlineClient {
    /// Name of the user.
    pub username: Username,
    /// Address of the client; in JSON `""` if it has never given one.
    #[serde(with = "addr_or_empty", default)]
    pub addr: Option<Addr>,
}

/// Response of `GET /discovery/online`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct OnlineNames {
    /// Names of the online users, sorted.
    pub online: Vec<Username>,
}

/// Response of `GET /discover_with_images`, as a client reads it. The server streams it in chunks.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DiscoveredWithImages {
    /// The online clients, sorted by username.
    pub online_clients: Vec<ClientWithImages>,
    /// Number of clients in this response.
    pub count: usize,
}

/// An online client with its newest images.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ClientWithImages {
    /// Name of the user.
    pub username: Username,
    /// Address of the client; in JSON `""` if it has never given one.
    #[serde(with = "addr_or_empty", default)]
    pub addr: Option<Addr>,
    /// Its newest images, oldest first.
    pub images: Vec<InlineImage>,
}

/// An image inside JSON.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct InlineImage {
    /// Name under which the image is stored.
    pub filename: String,
    /// Bytes of the image in standard base64 with padding.
    pub data: String,
}

/// Response of `POST /upload_image/{username}`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Always true.
    pub success: bool,
    /// Text for people.
    pub message: String,
    /// Name under which the image is stored.
    pub filename: String,
}

/// Response of `GET /images/{username}`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Images {
    /// Names of the user's images, oldest first.
    pub images: Vec<String>,
    /// Number of images.
    pub count: usize,
}

/// Body of every error response.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Always false.
    pub success: bool,
    /// Text for people: what was wrong, with which value, and what is right.
    pub message: String,
    /// Error code for programs, such as `not_leader`.
    pub code: Cow<'static, str>,
    /// `"exists"` if the username is taken. Older clients expect this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'static, str>>,
    /// Node name of the leader; only if another node leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<NodeAddr>,
    /// Base URL of the leader's HTTP API; only if another node leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_url: Option<String>,
    /// Term of the leader; only if another node leads.
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
    fn debug_output_of_a_registration_hides_the_password_and_json_contains_it() {
        let registration: Registration = serde_json::from_str(r#"{"username":"a","password":"secret"}"#).unwrap();
        assert!(!format!("{registration:?}").contains("secret"));
        assert!(serde_json::to_string(&registration).unwrap().contains("secret"), "the request must contain it");
    }
}
