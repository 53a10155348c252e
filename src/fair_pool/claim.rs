//! Claims of units, and the clients that make them.

use tokio_util::sync::CancellationToken;

use super::progress::PieceProgress;
use rollcall_core::AddressBlock;

/// A client that claims units for work of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimant<'c> {
    /// The address block by which the client is counted.
    pub(crate) block: AddressBlock,
    /// Cancelled when the connection of the client was displaced. `None` if it cannot be.
    pub(crate) connection: Option<&'c CancellationToken>,
}

/// The work that holds a piece.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) progress: PieceProgress,
    pub(super) displaced: CancellationToken,
}

/// A request for units.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) client: Option<AddressBlock>,
    pub(super) units: u64,
    /// `None` if the piece is never displaced.
    pub(super) work: Option<Work>,
    /// When this is cancelled, nobody waits for the units any more.
    pub(super) withdrawn: Option<CancellationToken>,
}

impl From<AddressBlock> for Claimant<'_> {
    fn from(block: AddressBlock) -> Self {
        Self { block, connection: None }
    }
}

impl Claim {
    /// One unit that another client may displace. `displaced` is cancelled then. It also ends the
    /// wait for the unit.
    pub(crate) fn displaceable(client: AddressBlock, progress: PieceProgress, displaced: CancellationToken) -> Self {
        let withdrawn = Some(displaced.clone());
        Self { client: Some(client), units: 1, work: Some(Work { progress, displaced }), withdrawn }
    }

    /// One unit that is never displaced, because the work does not depend on its client. The wait
    /// for it ends if the connection of the client is displaced.
    pub(crate) fn fixed<'c>(client: impl Into<Claimant<'c>>) -> Self {
        let Claimant { block, connection } = client.into();
        Self { client: Some(block), units: 1, work: None, withdrawn: connection.cloned() }
    }

    /// One unit of a client that is not counted.
    pub(crate) fn uncounted() -> Self {
        Self { client: None, units: 1, work: None, withdrawn: None }
    }

    /// Sets the number of units.
    pub(crate) fn units(self, units: usize) -> Self {
        Self { units: units as u64, ..self }
    }
}
