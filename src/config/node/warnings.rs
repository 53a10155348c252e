//! Warnings about a node's configuration: values that are valid but probably not intended.

use rollcall_core::NodeAddr;

const NO_CLUSTER_KEY: &str = "node_tls is off and there is no cluster_key, so any program that reaches the election port can pose as a \
     node; remove node_tls, or set the same cluster_key on all nodes (ROLLCALL_CLUSTER_KEY or cluster_key_file)";

const READABLE_SECRETS: &str = "there is no cluster_key, so secrets/ in the Firebase bucket is not sealed; users of apps of the same project \
     can read it if the rules of the storage let them: set the same cluster_key on all nodes, or deny secrets/ in \
     the rules (docs/security.md)";

const INSECURE_CLUSTER: &str = "insecure_cluster is true, but node_tls is on; remove insecure_cluster: it would let a later node_tls = \"off\" \
     start without an error";

const DISCOVERY_SERVER_COMPAT: &str = "discovery_server_compat is on: anybody can keep a name with a password online without its password, and any \
     web page can send requests; set it to false if no old client needs it";

/// Protection of the cluster against others.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClusterProtection {
    /// Other hosts can reach the election port, and nothing proves who belongs to the cluster.
    pub(super) is_open_to_others: bool,
    /// Others may be able to read the secrets in the bucket, and they are not sealed.
    pub(super) are_secrets_readable: bool,
    /// `insecure_cluster` has no effect, because links have TLS.
    pub(super) is_insecure_unused: bool,
}

/// The warnings, one line each. `is_emulator_unused`: an emulator is set, but no bucket.
pub(super) fn warnings(
    peers: &[NodeAddr],
    is_emulator_unused: bool,
    protection: ClusterProtection,
    discovery_server_compat: bool,
) -> Vec<String> {
    let mut warnings = Vec::new();
    match peers.len() {
        2 => warnings
            .push("with two nodes both are needed: if one is down, there is no leader; add a third node".to_owned()),
        count if count % 2 == 0 => warnings
            .push(format!("{count} nodes survive no more failures than {}; use an odd number of peers", count - 1)),
        _ => {}
    }
    let is_loopback = |peer: &&NodeAddr| peer.socket_addr().ip().is_loopback();
    if let (Some(near), Some(far)) = (peers.iter().find(is_loopback), peers.iter().find(|peer| !is_loopback(peer))) {
        warnings.push(format!("{near} can be reached on its own machine only, but {far} is not a loopback address"));
    }
    if is_emulator_unused {
        warnings.push("STORAGE_EMULATOR_HOST has no effect: FIREBASE_BUCKET names no bucket".to_owned());
    }
    if protection.is_open_to_others {
        warnings.push(NO_CLUSTER_KEY.to_owned());
    }
    if protection.are_secrets_readable {
        warnings.push(READABLE_SECRETS.to_owned());
    }
    if protection.is_insecure_unused {
        warnings.push(INSECURE_CLUSTER.to_owned());
    }
    if discovery_server_compat {
        warnings.push(DISCOVERY_SERVER_COMPAT.to_owned());
    }
    warnings
}
