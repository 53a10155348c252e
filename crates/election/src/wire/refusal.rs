//! Why a node refuses another.

use serde::{Deserialize, Serialize};

/// What the one who is refused can do about it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub(crate) enum RefusalKind {
    /// The two are configured differently: nothing, until somebody changes that.
    #[default]
    Different,
    /// Another living process has its address: it must end.
    Doubled,
    /// It is not known yet: try again.
    NotYet,
}
