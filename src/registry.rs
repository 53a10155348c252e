//! The use cases: register, heartbeat, lists and pictures.
//!
//! [`Registry`] joins what lasts (the bucket), what is derived from it (the index of profiles) and what is only
//! remembered (presence). It does not know HTTP, nor who leads: whoever composes it calls [`Registry::begin_term`] when
//! others may have written meanwhile. Time comes in as an argument; randomness is drawn in `random.rs`.
//!
//! The work is done by components: `users/`, `auth/`, `images/`, `online/` and the side of the replication. [`Registry`]
//! only wires them together.

mod auth;
mod coverage;
mod coverage_watch;
mod error;
mod images;
mod lock;
mod online;
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

pub use auth::credentials::{Caller, Credentials, DenialReason};
pub use auth::token_key::{TokenKey, TokenKeyError};
pub use auth::token_signer::IssuedToken;
pub use coverage::{Coverage, TermCoverage};
pub use error::{
    AuthError, ImageError, ImagesStreamError, LookupError, RegisterError, StorageUnavailable, UploadError, UsersError,
};
pub use images::image_check::rejection::ImageRejection;
pub use online::heartbeat::AcceptedHeartbeat;
pub use online::online_clients::OnlineChanges;
pub use replicated_rows::{ReplicatedUser, RowNo, Rows};
pub use users::registrar::{CompletedRegistration, RegisterOutcome, RegisterRequest};
pub use users::user_list::{UserRow, UsersVersion};
// What lists are made of, for those who do not know where presence comes from.
pub use crate::presence::{OfflineReason, OnlineRow};

use crate::presence::PresenceTable;
use crate::storage::Bucket;
use auth::authorizer::Authorizer;
use auth::login::Login;
use auth::password_verifier::PasswordVerifier;
use auth::token_signer::TokenSigner;
use coverage_watch::CoverageWatch;
use images::ImageComponents;
use images::image_store::ImageStore;
use images::images_stream::ImagesStream;
use online::heartbeat::Heartbeats;
use online::online_clients::OnlineClients;
use replication_source::ReplicationSource;
use rollcall_core::{Addr, BootMs, ImageName, Page, Password, Term, Username};
use storage_probe::StorageProbe;
use users::UserComponents;
use users::index_rebuild::IndexRebuild;
use users::profile_store::ProfileStore;
use users::registrar::Registrar;
use users::user_list::UserList;

/// What can be set about a registry.
#[derive(Clone, Copy, Debug)]
pub struct RegistrySettings {
    /// For how long a client stays online after a heartbeat.
    pub ttl_ms: u64,
    /// Whether there are other nodes, so that what changes is to be told and a registration to be known to a majority.
    pub replicated: bool,
    /// Whether a user must have a password.
    pub require_password: bool,
    /// For how long a token is good.
    pub token_seconds: u64,
}

/// The registry. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Registry(Arc<Components>);

struct Components {
    clients: Arc<OnlineClients>,
    heartbeats: Heartbeats,
    users: UserComponents,
    login: Login,
    images: ImageComponents,
    source: Arc<ReplicationSource>,
    coverage: Arc<CoverageWatch>,
    probe: StorageProbe,
}

impl Registry {
    /// A registry that keeps what lasts in `bucket`, makes tokens with `key`, and starts at `now` with nobody online.
    #[must_use]
    pub fn new(bucket: Bucket, settings: RegistrySettings, key: &TokenKey, now: BootMs) -> Self {
        let RegistrySettings { ttl_ms, replicated, require_password, token_seconds } = settings;
        let coverage = Arc::new(CoverageWatch::default());
        let clients = Arc::new(OnlineClients::new(ttl_ms, replicated, now));
        let profiles = Arc::new(ProfileStore::new(bucket.clone()));
        let tokens = Arc::new(TokenSigner::new(key, token_seconds));
        let proof = Arc::new(PasswordVerifier::new(profiles.clone()));
        let source = Arc::new(ReplicationSource::new(profiles.clone(), clients.clone(), coverage.clone(), replicated));
        let access = Arc::new(Authorizer::new(
            profiles.clone(),
            proof.clone(),
            tokens.clone(),
            coverage.clone(),
            require_password,
            replicated,
        ));
        let store = Arc::new(ImageStore::new(profiles.clone(), access.clone()));
        let registrar =
            Registrar::new(profiles.clone(), proof.clone(), tokens.clone(), source.clone(), require_password);
        Self(Arc::new(Components {
            heartbeats: Heartbeats::new(clients.clone(), profiles.clone(), access),
            users: UserComponents {
                list: UserList::new(profiles.clone(), clients.clone(), coverage.clone()),
                rebuild: IndexRebuild::new(profiles.clone(), source.clone()),
                registrar,
            },
            login: Login::new(profiles, proof, tokens, source.clone()),
            images: ImageComponents { stream: ImagesStream::new(store.clone(), clients.clone()), store },
            clients,
            source,
            coverage,
            probe: StorageProbe::new(bucket),
        }))
    }

    /// For how long a client stays online after a heartbeat.
    #[must_use]
    pub fn ttl_ms(&self) -> u64 {
        self.0.clients.ttl_ms()
    }

    /// Notes that this process runs at `now`, and forgets whom nobody heard for a day. To be called several times a
    /// second: a longer gap counts as a pause of ours, for which no client ages.
    pub fn tick(&self, now: BootMs) {
        self.0.clients.with_table(now, PresenceTable::sweep);
    }

    /// Whether the bucket answers at `now`. Who asks while another waits for the answer takes that one.
    ///
    /// # Errors
    /// [`StorageUnavailable`] if it does not.
    pub async fn probe(&self, now: BootMs) -> Result<(), StorageUnavailable> {
        self.0.probe.probe(now).await
    }
}

/// Heartbeats, and who is online.
impl Registry {
    /// Marks a registered user as online from now, at `addr` if one was told. Only a name that is not in the index
    /// costs a read of the bucket; or a password, or the first token of a user in an term that nobody else told of.
    ///
    /// # Errors
    /// [`AuthError`] if nobody registered under that name, the user has a password and `credentials` are not good, or it
    /// cannot be found out.
    pub async fn heartbeat(
        &self,
        name: &Username,
        addr: Option<Addr>,
        credentials: Credentials<'_>,
        caller: Caller,
    ) -> Result<AcceptedHeartbeat, AuthError> {
        self.0.heartbeats.heartbeat(name, addr, credentials, caller).await
    }

    /// As [`Self::heartbeat`] for who is online already and has no password, which is what most heartbeats are for; otherwise
    /// `None`, and nothing is done.
    #[must_use]
    pub fn renew(&self, name: &Username, addr: Option<Addr>, now: BootMs) -> Option<AcceptedHeartbeat> {
        self.0.heartbeats.renew(name, addr, now)
    }

    /// As [`Self::heartbeat`] if it can be accepted without waiting for anything; otherwise `None`, and nothing is done.
    #[must_use]
    pub fn try_heartbeat(
        &self,
        name: &Username,
        addr: Option<Addr>,
        credentials: Credentials<'_>,
        caller: Caller,
    ) -> Option<AcceptedHeartbeat> {
        self.0.heartbeats.try_heartbeat(name, addr, credentials, caller)
    }

    /// The clients on `page` that are online at `now`, sorted by name. A long page is no picture of one moment: who changes
    /// while it is read is on it as it was before or after.
    #[must_use]
    pub fn online(&self, page: &Page, now: BootMs) -> Vec<OnlineRow> {
        self.0.clients.online(page, now)
    }

    /// As [`Self::online`], part by part.
    pub fn online_parts(&self, page: Page, now: BootMs) -> impl Iterator<Item = Vec<OnlineRow>> {
        self.0.clients.online_parts(page, now)
    }

    /// How many clients are online at `now`.
    #[must_use]
    pub fn online_count(&self, now: BootMs) -> usize {
        self.0.clients.count(now)
    }

    /// A number that is another one whenever a list of the clients online would be another one. It only grows while this
    /// process runs, by one with each visible change.
    #[must_use]
    pub fn online_version(&self, now: BootMs) -> u64 {
        self.0.clients.version(now)
    }

    /// What changed from `version` to `now`; `None` if that is not remembered any more, or there was no such version yet.
    #[must_use]
    pub fn changes_since(&self, version: u64, now: BootMs) -> Option<OnlineChanges> {
        self.0.clients.changes_since(version, now)
    }

    /// Waits until something visible has changed since this was waited for the last time. Only one may wait: who has more
    /// to tell passes it on.
    pub async fn wait_for_change(&self) {
        self.0.clients.wait_for_change().await;
    }
}

/// UserComponents.
impl Registry {
    /// Registers a user. When this returns `Ok`, the registration is durable and known to a majority of the nodes.
    ///
    /// # Errors
    /// [`RegisterError`] if the name is taken with other data, a password is needed, wrong ones were tried too often, the
    /// bucket gave no answer, or too few nodes did; then the write may have taken effect, and the same registration may be
    /// sent again.
    pub async fn register(
        &self,
        user: RegisterRequest,
        caller: Caller,
    ) -> Result<CompletedRegistration, RegisterError> {
        self.0.users.registrar.register(user, caller).await
    }

    /// Waits until the index is whole in `term`, 4 s at most.
    ///
    /// # Errors
    /// [`UsersError::IndexRebuilding`] if it does not become whole in time.
    pub async fn wait_for_users(&self, term: Term) -> Result<(), UsersError> {
        self.0.users.list.wait_until_complete(term).await
    }

    /// What tells a list of the users of one moment from that of another.
    #[must_use]
    pub fn users_version(&self, now: BootMs) -> UsersVersion {
        self.0.users.list.version(now)
    }

    /// The users on `page`, sorted by name, as of `now`. Only those that this node knows: see [`Self::wait_for_users`].
    #[must_use]
    pub fn users(&self, page: &Page, now: BootMs) -> Vec<UserRow> {
        self.0.users.list.users(page, now)
    }

    /// As [`Self::users`], part by part.
    pub fn users_parts(&self, page: Page, now: BootMs) -> impl Iterator<Item = Vec<UserRow>> {
        self.0.users.list.users_parts(page, now)
    }

    /// Reads the bucket until the index is whole in `term`, or a later term begins. Tries again for as long as the
    /// bucket does not answer. May be dropped at any time; what was read stays.
    pub async fn rebuild_index(&self, term: Term) {
        self.0.users.rebuild.run(term).await;
    }

    /// Gives a token to who knows the password.
    ///
    /// # Errors
    /// [`AuthError`]: the user is not registered, has no password or another one, or has been guessed at too often; or the
    /// bucket, or a majority of the nodes, gave no answer.
    pub async fn login(&self, name: &Username, password: Password, caller: Caller) -> Result<IssuedToken, AuthError> {
        self.0.login.login(name, password, caller).await
    }

    /// NetChanges the password and gives a token for the new one. When this returns `Ok`, the change is durable and known to a
    /// majority of the nodes, and no token that was given before is good any more. To repeat it does no harm: who knows the
    /// password that it has already is given a token.
    ///
    /// # Errors
    /// [`AuthError`] as for [`Self::login`]. If the bucket or too few nodes gave an answer, the change may have taken effect;
    /// the same change may be sent again.
    pub async fn change_password(
        &self,
        name: &Username,
        password: Password,
        new: Password,
        caller: Caller,
    ) -> Result<IssuedToken, AuthError> {
        self.0.login.change_password(name, password, new, caller).await
    }
}

/// ImageChecker.
impl Registry {
    /// Stores a picture of a registered user. When this returns `Ok`, the picture is durable.
    ///
    /// # Errors
    /// [`UploadError`] if the user is not registered, or has a password and `credentials` are not good, the picture breaks a
    /// rule, or the bucket gave no answer.
    pub async fn upload(
        &self,
        user: &Username,
        bytes: Bytes,
        credentials: Credentials<'_>,
        caller: Caller,
    ) -> Result<ImageName, UploadError> {
        self.0.images.store.upload(user, bytes, credentials, caller).await
    }

    /// The names of a registered user's pictures, oldest first.
    ///
    /// # Errors
    /// [`LookupError`] if the user is not registered, or the bucket gave no answer.
    pub async fn images(&self, user: &Username, now: BootMs) -> Result<Vec<ImageName>, LookupError> {
        self.0.images.store.images(user, now).await
    }

    /// A picture as it was stored. One that was deleted from the bucket may be given for another minute.
    ///
    /// # Errors
    /// [`ImageError`] if there is none of that name, or the bucket gave no answer.
    pub async fn image(&self, user: &Username, image: &ImageName, now: BootMs) -> Result<Bytes, ImageError> {
        self.0.images.store.image(user, image, now).await
    }

    /// The clients on `page` that are online at `now`, each with its newest 20 pictures, oldest first:
    /// `{"online_clients":[{"username","addr","images":[{"filename","data"}]}],"count"}`. An error inside the stream must
    /// abort the answer, so that nobody takes a part for the whole. Until it is dropped the stream keeps others out, so
    /// whoever reads it must bound how long that takes.
    ///
    /// # Errors
    /// [`ImagesStreamError`] if too many run already, or the bucket does not answer for the first client.
    pub async fn online_with_images(
        &self,
        page: &Page,
        now: BootMs,
    ) -> Result<impl Stream<Item = Result<Bytes, StorageUnavailable>> + Send + use<>, ImagesStreamError> {
        self.0.images.stream.open(page, now).await
    }
}

/// Terms, and the registries of other nodes.
impl Registry {
    /// The term that began last.
    #[must_use]
    pub fn term(&self) -> Term {
        self.0.source.term()
    }

    /// Begins a term: others may have written to the bucket until now, so the index counts as not whole and names
    /// missed before are asked for again. To be followed by [`Self::rebuild_index`]. An older term is ignored.
    ///
    /// It costs next to nothing if the term runs already, so it can be called with every request: nothing may be answered
    /// in a term that has not begun.
    pub fn begin_term(&self, term: Term) {
        self.0.source.begin_term(term);
    }

    /// Ends the replication of `ended`: this node takes no registrations and heartbeats in it any more. What was not taken by
    /// [`Self::take_changes`] is forgotten as a change, not as a fact. If a later term has begun meanwhile, nothing is done:
    /// its changes are to be told.
    pub fn end_replication(&self, ended: Term) {
        self.0.source.end_replication(ended);
    }

    /// How much of the users and of the clients this node has.
    #[must_use]
    pub fn coverage(&self) -> watch::Receiver<TermCoverage> {
        self.0.coverage.subscribe()
    }

    /// Notes that this node has every registration that was acknowledged until now.
    pub fn note_complete(&self) {
        self.0.coverage.change(TermCoverage::note_complete);
    }

    /// Notes that in `term` this node has at least so much of the users.
    pub fn raise_users(&self, term: Term, coverage: Coverage) {
        self.0.source.raise_users(term, coverage);
    }

    /// Notes that in `term` this node has at least so much of the clients.
    pub fn raise_clients(&self, term: Term, coverage: Coverage) {
        self.0.coverage.change(|node| node.raise_clients(term, coverage));
    }

    /// Waits until this node may answer who is online in `term`, 1 s at most: a new leader that was not in step asks the
    /// others first. If none of them answers, it knows it best.
    pub async fn wait_for_clients(&self, term: Term) {
        self.0.source.wait_for_clients(term).await;
    }

    /// Notes that a leader served at `now`: this node, or one that was heard just now. While none does, no client ages,
    /// from the first such note on.
    pub fn note_active_leader(&self, now: BootMs) {
        self.0.clients.note_active_leader(now);
    }

    /// Some of what changed, and up to which new users all have been given; `None` if nothing did.
    #[must_use]
    pub fn take_changes(&self, now: BootMs) -> Option<(Rows, Option<RowNo>)> {
        self.0.source.take_changes(now)
    }

    /// Some clients after a name, or from the first on; none only if there are no more.
    #[must_use]
    pub fn clients_after(&self, after: Option<&Username>, now: BootMs) -> Rows {
        self.0.source.clients_after(after, now)
    }

    /// Some users after a name, or from the first on; none only if there are no more.
    #[must_use]
    pub fn users_after(&self, after: Option<&Username>) -> Rows {
        self.0.source.users_after(after)
    }

    /// Takes in what another node told.
    pub fn merge(&self, rows: &Rows, now: BootMs) {
        self.0.source.merge(rows, now);
    }

    /// Takes in what a snapshot on disk says that was made `away_ms` ago. UserComponents count only once their names are confirmed.
    pub fn load_snapshot(&self, rows: Rows, away_ms: u64, now: BootMs) {
        self.0.source.load_snapshot(rows, away_ms, now);
    }

    /// Notes that a majority knows the new rows up to `up_to`.
    pub fn confirm_majority(&self, up_to: RowNo) {
        self.0.source.confirm_majority(up_to);
    }

    /// Waits until there are new users to tell the others of. For one waiter.
    pub async fn wait_for_new_users(&self) {
        self.0.source.wait_for_new_users().await;
    }
}
