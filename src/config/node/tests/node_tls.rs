//! Tests of the settings for TLS between nodes.

use super::*;

#[test]
fn a_reachable_cluster_without_tls_and_key_gives_a_warning() {
    let warns = |node: &str, peers: &str, more: &str| {
        let flags = Flags { this_node: Some(node.to_owned()), peers: Some(peers.to_owned()), ..Flags::default() };
        let warnings = load(more, &[], &flags).unwrap().warnings;
        warnings.iter().any(|warning| warning.contains("cluster_key"))
    };
    let three = "10.0.0.1:1,10.0.0.2:1,10.0.0.3:1";
    let plain = "node_tls = \"off\"\ninsecure_cluster = true\n";
    assert!(warns("10.0.0.1:1", three, plain));
    assert!(!warns("10.0.0.1:1", three, ""));
    assert!(!warns("10.0.0.1:1", three, &format!("{plain}cluster_key = {SECRET:?}")));
    assert!(!warns("10.0.0.1:1", three, &format!("{plain}cluster_key_file = \"key\"")));
    assert!(!warns("10.0.0.1:1", "10.0.0.1:1", plain), "a single node accepts no other node");
    assert!(!warns("127.0.0.1:1", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", plain));
}

#[test]
fn a_firebase_bucket_without_a_cluster_key_gives_a_warning() {
    let warns = |more: &str| {
        let warnings = load_with(more).unwrap().warnings;
        warnings.iter().any(|warning| warning.contains("secrets/ in the Firebase bucket is not sealed"))
    };
    assert!(warns("firebase_bucket = \"bucket\""));
    assert!(!warns(&format!("firebase_bucket = \"bucket\"\ncluster_key = {SECRET:?}")));
    assert!(!warns(""));
}

#[test]
fn a_permission_for_plain_links_that_is_not_used_gives_a_warning() {
    let warns = |more: &str| {
        let warnings = load_with(more).unwrap().warnings;
        warnings.iter().any(|warning| warning.contains("insecure_cluster is true, but node_tls is on"))
    };
    assert!(warns("insecure_cluster = true"));
    assert!(!warns("insecure_cluster = true\nnode_tls = \"off\""));
    assert!(!warns("node_tls = \"off\"") && !warns("insecure_cluster = false"));
}

#[test]
fn links_between_machines_have_tls_unless_the_operator_says_twice_that_they_have_not() {
    let load = |node: &str, more: &str| {
        let flags = Flags { this_node: Some(node.to_owned()), peers: Some(node.to_owned()), ..Flags::default() };
        super::load(more, &[], &flags)
    };
    let node_tls = |node: &str, more: &str| load(node, more).unwrap().node_tls;
    assert_eq!(node_tls("10.0.0.1:1", ""), NodeTlsConfig::SharedPair);
    assert_eq!(node_tls("10.0.0.1:1", "node_tls = \"on\""), NodeTlsConfig::SharedPair);
    assert_eq!(node_tls("127.0.0.1:1", "node_tls = \"off\""), NodeTlsConfig::Off);
    assert_eq!(node_tls("10.0.0.1:1", "node_tls = \"off\"\ninsecure_cluster = true"), NodeTlsConfig::Off);
    let text = error(load("10.0.0.1:1", "node_tls = \"off\""));
    assert!(
        text.contains("10.0.0.1:1 is not an address of this machine") && text.contains("insecure_cluster"),
        "{text}"
    );
    let text = error(load("127.0.0.1:1", "node_tls = \"no\""));
    assert_eq!(text, "c.toml:1: node_tls is \"no\", but must be \"on\" or \"off\"");
}

#[test]
fn the_files_of_node_certificates_belong_together() {
    let all = "node_ca = \"ca.pem\"\nnode_cert = \"node.pem\"\nnode_key = \"node.key\"\n";
    let files =
        NodeTlsFiles { authority: "ca.pem".into(), certificate: "node.pem".into(), private_key: "node.key".into() };
    assert_eq!(load_with(all).unwrap().node_tls, NodeTlsConfig::Files(files));
    for line in all.lines() {
        let text = error(load_with(&all.replace(line, "")));
        assert!(
            text.ends_with("node_ca, node_cert and node_key belong together; set all three, or none of them"),
            "{text}"
        );
    }
    let text = error(load_with(&format!("{all}node_tls = \"off\"")));
    assert!(text.contains("node_tls is \"off\", but node_ca"), "{text}");
    let text = error(load_with("node_key = \"-----BEGIN PRIVATE KEY-----\""));
    assert!(text.starts_with("node_key holds a key"), "{text}");
    assert!(error(load_with("node_ca = \"\"")).contains("a path in quotes"));
}
