//! Step of a check: whether everybody can read the secrets of the cluster.

use super::super::seal::is_sealed;
use super::super::{AnonymousReader, Bucket, Key};
use super::explanation::explain;
use super::steps::Findings;

/// Remedy for secrets that others can read.
const DENY: &str = "deny secrets/ in the rules of Firebase Storage, and give allUsers and allAuthenticatedUsers no role \
                    on the bucket (docs/security.md)";

/// Tries to read a secret without credentials. Fails if that shows a secret that is not sealed.
pub(super) async fn find_exposure(bucket: &Bucket, anonymous: &dyn AnonymousReader) -> Result<Findings, String> {
    let key = Key::TokenKey;
    if bucket.get(&key).await.map_err(explain)?.is_none() {
        return Ok(fact(format!("there is no {key} yet; check again after the first start of a node")));
    }
    match anonymous.read(&key).await {
        Ok(Some(bytes)) if is_sealed(&bytes) => {
            Ok(fact(format!("everybody can read {key} without credentials; the cluster_key protects it, but {DENY}")))
        }
        Ok(Some(_)) => Err(format!(
            "everybody can read {key} without credentials, and it is not sealed; {DENY}, and then make new secrets"
        )),
        Ok(None) => Ok(fact(format!(
            "{key} cannot be read without credentials; whether signed-in users of apps can read it, this check cannot \
             test: the rules must deny secrets/ (docs/security.md)"
        ))),
        Err(cause) => Ok(fact(format!("nobody knows whether {key} can be read without credentials: {cause}"))),
    }
}

fn fact(text: String) -> Findings {
    Findings { facts: vec![text], ..Findings::default() }
}
