//! Kinds of refusals between nodes.

use serde::{Deserialize, Serialize};

/// Kind of a refusal. It tells the refused node whether a retry can help.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub(crate) enum RefusalKind {
    /// The two nodes are configured differently. A retry fails until an operator corrects the
    /// configuration.
    #[default]
    #[serde(rename = "Different")]
    ConfigMismatch,
    /// Another living process has the refused node's address. The refused process must end.
    #[serde(rename = "Doubled")]
    AddressConflict,
    /// The refusing node does not know yet which process owns the address. The refused node
    /// retries.
    #[serde(rename = "NotYet")]
    TryAgain,
}

impl RefusalKind {
    /// Name of the kind in frames and in the text that a key proof covers.
    pub(crate) fn wire_name(self) -> &'static str {
        match self {
            Self::ConfigMismatch => "Different",
            Self::AddressConflict => "Doubled",
            Self::TryAgain => "NotYet",
        }
    }
}
