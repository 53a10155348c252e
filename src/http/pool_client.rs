//! The client of a request as fair pools count it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use super::params::ClientAddr;
use crate::fair_pool::Claimant;
use rollcall_core::AddressBlock;

/// The client of a request, and its connection.
#[derive(Clone, Debug)]
pub(super) struct PoolClient {
    pub(super) addr: ClientAddr,
    /// Cancelled when the connection was displaced, or something that its response holds.
    pub(super) connection: DisplacedConnection,
}

impl PoolClient {
    /// The address block by which the client is counted.
    pub(super) fn block(&self) -> AddressBlock {
        AddressBlock::of(self.addr.ip())
    }

    /// The client as it claims units.
    pub(super) fn claimant(&self) -> Claimant<'_> {
        Claimant { block: self.block(), connection: Some(&self.connection.0) }
    }
}

/// Says that a connection must end, because a fair pool gave its place to another client. The
/// server attaches it to each request as an extension.
#[derive(Clone, Debug, Default)]
pub(super) struct DisplacedConnection(pub(super) CancellationToken);

impl<S: Sync> FromRequestParts<S> for PoolClient {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let addr = ClientAddr::from_request_parts(parts, state).await?;
        // Tests have no connection.
        let connection = parts.extensions.get::<DisplacedConnection>().cloned().unwrap_or_default();
        Ok(Self { addr, connection })
    }
}
