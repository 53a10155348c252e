//! The registry: registration, login, heartbeats, lists and images, independent of HTTP.
//!
//! [`Registry`] combines durable data (the bucket), an index of its users in memory, and presence,
//! which is in memory only. It does not know which node leads: its owner calls
//! [`Registry::begin_term`] when other nodes may have written to the bucket. Time is an argument.
//! Randomness comes from `random.rs`.
//!
//! The work is done by components in `users/`, `auth/`, `images/`, `online/` and by the replication
//! source. [`Registry`] only wires them together.

mod address_buckets;
mod auth;
mod coverage;
mod coverage_watch;
mod error;
mod images;
mod lock;
mod online;
mod quotas;
mod random;
mod replicated_rows;
mod replication_source;
mod storage_probe;
mod users;

#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[cfg(test)]
pub(crate) use auth::credential_state::{CredentialState, PasswordFingerprint};
pub use auth::credentials::{Caller, Credentials, DenialReason};
pub use auth::token_key::{TokenKey, TokenKeyError};
pub use auth::token_signer::IssuedToken;
pub use coverage::{Coverage, TermCoverage};
pub use error::{
    AuthError, ImageError, LookupError, Overloaded, ReadError, RegisterError, StorageUnavailable, UploadError,
    UsersError,
};
pub use images::image_check::rejection::ImageRejection;
pub(crate) use images::listing_cache::TTL_MS as LISTING_TTL_MS;
pub use online::heartbeat::AcceptedHeartbeat;
pub use online::online_clients::OnlineChanges;
pub use quotas::{QuotaExceeded, Quotas, RateLimited, RegistrationRate, UploadRate};
pub use replicated_rows::bounds::{AbsurdValue, absurd_term, remove_absurd_values};
pub(crate) use replicated_rows::version_1::decode as decode_rows_of_version_1;
pub use replicated_rows::{ReplicatedUser, RowNo, Rows};
pub use users::registrar::{CompletedRegistration, RegisterOutcome, RegisterRequest};
pub use users::user_list::{UserRow, UsersVersion};
// Types that the methods below return. Re-exported, so that callers need not import `presence`.
pub use crate::presence::{OfflineReason, OnlineRow};

use crate::presence::PresenceTable;
use crate::storage::Bucket;
use auth::authorizer::Authorizer;
use auth::login::LoginService;
use auth::password_verifier::PasswordVerifier;
use auth::token_signer::TokenSigner;
use coverage_watch::CoverageWatch;
use images::ImageComponents;
use images::image_store::ImageStore;
use images::images_stream::ImagesStream;
use online::heartbeat::Heartbeats;
use online::online_clients::OnlineClients;
use replication_source::ReplicationSource;
use rollcall_core::{Addr, AddressBlock, BootMs, ImageName, NodeAddr, Page, Password, Term, Username, WallMs};
use storage_probe::StorageProbe;
use users::UserComponents;
use users::index_rebuild::IndexRebuild;
use users::profile_store::ProfileStore;
use users::registrar::Registrar;
use users::user_list::UserList;

/// Settings of a registry.
#[derive(Clone, Copy, Debug)]
pub struct RegistrySettings {
    /// Time for which a client stays online after a heartbeat, in milliseconds.
    pub ttl_ms: u64,
    /// Whether there are other nodes. Then changes are replicated and a registration waits for a
    /// majority.
    pub replicated: bool,
    /// Whether every user must have a password.
    pub require_password: bool,
    /// Lifetime of a token, in seconds.
    pub token_seconds: u64,
    /// Whether a heartbeat without credentials renews a client with a password.
    pub heartbeats_need_no_credentials: bool,
    /// Quotas of clients and users.
    pub quotas: Quotas,
    /// This node. It names the object with which the node finds out whether writes work.
    pub node: NodeAddr,
}

/// The registry. A clone is a cheap handle to the same registry.
#[derive(Clone)]
pub struct Registry(Arc<Components>);

struct Components {
    clients: Arc<OnlineClients>,
    heartbeats: Heartbeats,
    users: UserComponents,
    login: LoginService,
    images: ImageComponents,
    source: Arc<ReplicationSource>,
    coverage: Arc<CoverageWatch>,
    probe: StorageProbe,
}

impl Registry {
    /// A registry that stores durable data in `bucket` and signs tokens with `key`. It starts at
    /// `now`, when the wall clock shows `wall`, with no client online.
    #[must_use]
    pub fn new(bucket: Bucket, settings: RegistrySettings, key: &TokenKey, now: BootMs, wall: WallMs) -> Self {
        let RegistrySettings {
            ttl_ms,
            replicated,
            require_password,
            token_seconds,
            heartbeats_need_no_credentials,
            quotas,
            node,
        } = settings;
        let coverage = Arc::new(CoverageWatch::default());
        let clients = Arc::new(OnlineClients::new(ttl_ms, replicated, now, wall));
        let profiles = Arc::new(ProfileStore::new(bucket.clone()));
        let tokens = Arc::new(TokenSigner::new(key, token_seconds));
        let verifier = Arc::new(PasswordVerifier::new(profiles.clone()));
        let source = Arc::new(ReplicationSource::new(profiles.clone(), clients.clone(), coverage.clone(), replicated));
        let authorizer = Arc::new(Authorizer::new(
            profiles.clone(),
            verifier.clone(),
            tokens.clone(),
            coverage.clone(),
            require_password,
            replicated,
        ));
        let store = Arc::new(ImageStore::new(profiles.clone(), authorizer.clone(), quotas));
        let registrar = Registrar::new(
            profiles.clone(),
            verifier.clone(),
            tokens.clone(),
            source.clone(),
            clients.clone(),
            require_password,
            quotas,
        );
        Self(Arc::new(Components {
            heartbeats: Heartbeats::new(clients.clone(), profiles.clone(), authorizer, heartbeats_need_no_credentials),
            users: UserComponents {
                list: UserList::new(profiles.clone(), clients.clone(), coverage.clone()),
                rebuild: IndexRebuild::new(profiles.clone(), source.clone()),
                registrar,
            },
            login: LoginService::new(profiles, verifier, tokens, source.clone()),
            images: ImageComponents { stream: ImagesStream::new(store.clone(), clients.clone()), store },
            clients,
            source,
            coverage,
            probe: StorageProbe::new(bucket, node),
        }))
    }

    /// Time for which a client stays online after a heartbeat, in milliseconds.
    #[must_use]
    pub fn ttl_ms(&self) -> u64 {
        self.0.clients.ttl_ms()
    }

    /// Advances the presence clock to `now` and removes clients last seen a day ago or earlier.
    /// Call it several times a second: on a single node, a gap of more than 1 s counts as a pause
    /// of this process, and clients do not age during a pause.
    pub fn tick(&self, now: BootMs) {
        self.0.clients.with_table(now, PresenceTable::sweep);
    }

    /// Compares the displayed wall time with the machine's wall clock, which shows `wall` at `now`.
    /// Displayed times change only when the clock was set. Call it several times a second.
    pub fn update_wall_time(&self, now: BootMs, wall: WallMs) {
        self.0.clients.update_wall_time(now, wall);
    }

    /// Records that `now` is not earlier than `wall`, a time read from a file. While the machine's
    /// clock is not set, the displayed wall time continues from there.
    pub fn note_earlier_time(&self, now: BootMs, wall: WallMs) {
        self.0.clients.note_earlier_time(now, wall);
    }

    /// The displayed wall time at `now`.
    #[must_use]
    pub fn wall_time(&self, now: BootMs) -> WallMs {
        self.0.clients.wall_time(now)
    }

    /// Checks whether the bucket can be read and written at `now`. Concurrent callers share the
    /// requests.
    ///
    /// # Errors
    /// [`StorageUnavailable`] if it cannot.
    pub async fn probe(&self, now: BootMs) -> Result<(), StorageUnavailable> {
        self.0.probe.probe(now).await
    }
}

/// Heartbeats and the list of online clients.
impl Registry {
    /// Records a heartbeat: the registered user is online from now on, at `addr` if one is given.
    /// The bucket is read in three cases only:
    ///
    /// * for a name that is not in the index,
    /// * to verify a password,
    /// * for a user's first token in a term, if no other node reported the user's password state.
    ///
    /// # Errors
    /// [`AuthError`] if the user is not registered, if the user has a password and `credentials` do
    /// not match, or if this could not be checked.
    pub async fn heartbeat(
        &self,
        name: &Username,
        addr: Option<Addr>,
        credentials: Credentials<'_>,
        caller: Caller<'_>,
    ) -> Result<AcceptedHeartbeat, AuthError> {
        self.0.heartbeats.heartbeat(name, addr, credentials, caller).await
    }

    /// Like [`Self::heartbeat`], for a client that is online already and has no password. This is
    /// the common case. Otherwise returns `None` and changes nothing.
    #[must_use]
    pub fn renew(&self, name: &Username, addr: Option<Addr>, now: BootMs) -> Option<AcceptedHeartbeat> {
        self.0.heartbeats.renew(name, addr, now)
    }

    /// Like [`Self::heartbeat`], if the heartbeat can be accepted without waiting. Otherwise
    /// returns `None` and changes nothing.
    #[must_use]
    pub fn try_heartbeat(
        &self,
        name: &Username,
        addr: Option<Addr>,
        credentials: Credentials<'_>,
        caller: Caller<'_>,
    ) -> Option<AcceptedHeartbeat> {
        self.0.heartbeats.try_heartbeat(name, addr, credentials, caller)
    }

    /// The clients on `page` that are online at `now`, sorted by name. A long page is not a
    /// consistent snapshot: a client that changes during the read appears in its old or its new
    /// state.
    #[must_use]
    pub fn online(&self, page: &Page, now: BootMs) -> Vec<OnlineRow> {
        self.0.clients.online(page, now)
    }

    /// Like [`Self::online`], in parts, so that no lock is held for long.
    pub fn online_parts(&self, page: Page, now: BootMs) -> impl Iterator<Item = Vec<OnlineRow>> {
        self.0.clients.online_parts(page, now)
    }

    /// The number of clients online at `now`.
    #[must_use]
    pub fn online_count(&self, now: BootMs) -> usize {
        self.0.clients.count(now)
    }

    /// The version of the list of online clients. It grows by 1 with each visible change and never
    /// goes back while this process runs.
    #[must_use]
    pub fn online_version(&self, now: BootMs) -> u64 {
        self.0.clients.version(now)
    }

    /// The changes from `version` to `now`. `None` if some of them were dropped, or if `version` is
    /// higher than the current version.
    #[must_use]
    pub fn changes_since(&self, version: u64, now: BootMs) -> Option<OnlineChanges> {
        self.0.clients.changes_since(version, now)
    }

    /// Waits for a visible change since the last call. Only one task may wait; it must notify all
    /// others.
    pub async fn wait_for_change(&self) {
        self.0.clients.wait_for_change().await;
    }
}

/// Users.
impl Registry {
    /// Registers a user. When this returns `Ok`, the registration is durable and known to a
    /// majority of the nodes.
    ///
    /// # Errors
    /// [`RegisterError`] if the name is already registered with other data, a required password is
    /// missing, or too many wrong passwords were tried. Also if the bucket or a majority of the
    /// nodes did not reply. Then the write may have taken effect, and the caller may send the same
    /// registration again.
    pub async fn register(
        &self,
        user: RegisterRequest,
        caller: Caller<'_>,
    ) -> Result<CompletedRegistration, RegisterError> {
        self.0.users.registrar.register(user, caller).await
    }

    /// Waits until the index is complete in `term`, for at most 4 s.
    ///
    /// # Errors
    /// [`UsersError::IndexRebuilding`] if it is not complete in time.
    pub async fn wait_for_users(&self, term: Term) -> Result<(), UsersError> {
        self.0.users.list.wait_until_complete(term).await
    }

    /// The version of the list of users at `now`. Equal versions mean equal lists.
    #[must_use]
    pub fn users_version(&self, now: BootMs) -> UsersVersion {
        self.0.users.list.version(now)
    }

    /// The users on `page` at `now`, sorted by name. Only users in the index are included; see
    /// [`Self::wait_for_users`].
    #[must_use]
    pub fn users(&self, page: &Page, now: BootMs) -> Vec<UserRow> {
        self.0.users.list.users(page, now)
    }

    /// Like [`Self::users`], in parts, so that no lock is held for long.
    pub fn users_parts(&self, page: Page, now: BootMs) -> impl Iterator<Item = Vec<UserRow>> {
        self.0.users.list.users_parts(page, now)
    }

    /// Reads the bucket until the index is complete in `term`, or until a later term begins.
    /// Retries while the bucket is unavailable. The future may be dropped at any time; profiles
    /// read so far stay in the index.
    pub async fn rebuild_index(&self, term: Term) {
        self.0.users.rebuild.run(term).await;
    }

    /// Searches the bucket periodically for users that another cluster or program has registered,
    /// until a later term than `term` begins. The future may be dropped at any time.
    pub async fn search_for_new_profiles(&self, term: Term) {
        self.0.users.rebuild.search_for_new_profiles(term).await;
    }

    /// Issues a token for a user's password.
    ///
    /// # Errors
    /// [`AuthError`] if the user is not registered, has no password or a different one, or if too
    /// many wrong passwords were tried. Also if the bucket or a majority of the nodes did not
    /// reply.
    pub async fn login(
        &self,
        name: &Username,
        password: Password,
        caller: Caller<'_>,
    ) -> Result<IssuedToken, AuthError> {
        self.0.login.login(name, password, caller).await
    }

    /// Changes a user's password and issues a token for the new one. When this returns `Ok`, the
    /// change is durable and known to a majority of the nodes, and all earlier tokens are invalid.
    /// The call may be repeated: a caller whose new password is already set gets a token.
    ///
    /// # Errors
    /// [`AuthError`] as for [`Self::login`]. If the bucket or a majority of the nodes did not
    /// reply, the change may have taken effect, and the caller may repeat it.
    pub async fn change_password(
        &self,
        name: &Username,
        password: Password,
        new: Password,
        caller: Caller<'_>,
    ) -> Result<IssuedToken, AuthError> {
        self.0.login.change_password(name, password, new, caller).await
    }
}

/// Images.
impl Registry {
    /// Stores an image of a registered user. When this returns `Ok`, the image is durable.
    ///
    /// # Errors
    /// [`UploadError`] if the user is not registered, if the user has a password and `credentials`
    /// do not match, if the image breaks a rule, or if the bucket did not reply.
    pub async fn upload(
        &self,
        user: &Username,
        bytes: Bytes,
        credentials: Credentials<'_>,
        caller: Caller<'_>,
    ) -> Result<ImageName, UploadError> {
        self.0.images.store.upload(user, bytes, credentials, caller).await
    }

    /// The names of a registered user's images, oldest first.
    ///
    /// # Errors
    /// [`LookupError`] if the user is not registered, if too many reads wait, or if the bucket did
    /// not reply.
    pub async fn images(&self, user: &Username, caller: Caller<'_>) -> Result<Vec<ImageName>, LookupError> {
        self.0.images.store.images(user, caller).await
    }

    /// The bytes of an image, as they were stored. An image deleted from the bucket may still be
    /// returned for a minute.
    ///
    /// # Errors
    /// [`ImageError`] if there is no such image, if too many reads wait, or if the bucket did not
    /// reply.
    pub async fn image(&self, user: &Username, image: &ImageName, caller: Caller<'_>) -> Result<Bytes, ImageError> {
        self.0.images.store.image(user, image, caller).await
    }

    /// Streams the clients on `page` that are online at `now`, each with its newest 20 images,
    /// oldest first. The format is
    /// `{"online_clients":[{"username","addr","images":[{"filename","data"}]}],"count"}`.
    ///
    /// On an error inside the stream, the caller must abort the response, so that no client takes a
    /// partial list for a complete one. The stream holds one of a limited number of download slots
    /// until it is dropped, so the caller must bound the time of a slow reader. If another client
    /// needs the slot, `displaced` is cancelled, and the caller must drop the stream.
    ///
    /// # Errors
    /// [`ReadError`] if too many downloads are running, or if the bucket did not reply for the
    /// first client.
    pub async fn online_with_images(
        &self,
        page: &Page,
        now: BootMs,
        client: AddressBlock,
        displaced: CancellationToken,
    ) -> Result<impl Stream<Item = Result<Bytes, ReadError>> + Send + use<>, ReadError> {
        self.0.images.stream.open(page, now, client, displaced).await
    }
}

/// Terms and replication.
impl Registry {
    /// The current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.0.source.term()
    }

    /// Begins a term. Other nodes may have written to the bucket until now. So the index counts as
    /// incomplete again, and names that were not found before are looked up again. The owner must
    /// call [`Self::rebuild_index`] next. An older term is ignored.
    ///
    /// The call is nearly free if the term has already begun, so it may precede every request. No
    /// request may be answered in a term that has not begun.
    pub fn begin_term(&self, term: Term) {
        self.0.source.begin_term(term);
    }

    /// Ends the replication of term `ended`, in which this node accepts no more registrations and
    /// heartbeats. Changes not yet taken by [`Self::take_changes`] are no longer queued; the data
    /// itself stays. Does nothing if a later term has begun, because its changes must be
    /// replicated.
    pub fn end_replication(&self, ended: Term) {
        self.0.source.end_replication(ended);
    }

    /// Watches the coverage of the users and of the clients on this node.
    #[must_use]
    pub fn coverage(&self) -> watch::Receiver<TermCoverage> {
        self.0.coverage.subscribe()
    }

    /// Records that this node has every registration acknowledged so far.
    pub fn note_complete(&self) {
        self.0.coverage.change(TermCoverage::note_complete);
    }

    /// Raises the coverage of the users in `term`; it never falls.
    pub fn raise_users(&self, term: Term, coverage: Coverage) {
        self.0.source.raise_users(term, coverage);
    }

    /// Raises the coverage of the clients in `term`; it never falls.
    pub fn raise_clients(&self, term: Term, coverage: Coverage) {
        self.0.coverage.change(|node| node.raise_clients(term, coverage));
    }

    /// Waits until this node may answer queries for online clients in `term`, for at most 1 s. A
    /// new leader that was not in sync asks the other nodes first. If none of them replies, its own
    /// data is the best available.
    pub async fn wait_for_clients(&self, term: Term) {
        self.0.source.wait_for_clients(term).await;
    }

    /// Records that a leader was active at `now`: this node, or a node that just sent a message.
    /// After the first call, clients stop aging one second after the last call, for a limited time.
    pub fn note_active_leader(&self, now: BootMs) {
        self.0.clients.note_active_leader(now);
    }

    /// The next batch of changes to replicate; `None` if there are none. If the batch has new
    /// users, it comes with the row number of the last user taken so far.
    #[must_use]
    pub fn take_changes(&self, now: BootMs) -> Option<(Rows, Option<RowNo>)> {
        self.0.source.take_changes(now)
    }

    /// The next batch of clients with names after `after`, or from the start. Empty only at the
    /// end.
    #[must_use]
    pub fn clients_after(&self, after: Option<&Username>, now: BootMs) -> Rows {
        self.0.source.clients_after(after, now)
    }

    /// The next batch of users with names after `after`, or from the start. Empty only at the end.
    #[must_use]
    pub fn users_after(&self, after: Option<&Username>) -> Rows {
        self.0.source.users_after(after)
    }

    /// Merges rows received from another node.
    pub fn merge(&self, rows: &Rows, now: BootMs) {
        self.0.source.merge(rows, now);
    }

    /// Loads the rows of a snapshot of the time `written_at`, written `away_ms` ago. A user from it
    /// is added to the index only when its name is found in the bucket. Absurd values are ignored;
    /// returns the first one.
    #[must_use]
    pub fn load_snapshot(&self, rows: Rows, written_at: WallMs, away_ms: u64, now: BootMs) -> Option<AbsurdValue> {
        self.0.source.load_snapshot(rows, written_at, away_ms, now)
    }

    /// Records that a majority of the nodes has the new user rows up to number `up_to`.
    pub fn confirm_majority(&self, up_to: RowNo) {
        self.0.source.confirm_majority(up_to);
    }

    /// Waits until there are new users to replicate. Only one task may wait.
    pub async fn wait_for_new_users(&self) {
        self.0.source.wait_for_new_users().await;
    }
}
