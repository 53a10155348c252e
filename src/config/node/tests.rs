//! Both sides of every validation rule, and the text of every error.

mod node_tls;

use std::collections::HashMap;

use clap::Args;

use super::*;
use crate::storage::DriveConfig;
use rollcall_core::{BucketName, ForwardedHeader, ProxyNetwork, TrustedProxies};

const FILE: &str = "\
this_node = \"127.0.0.1:8080\"
peers = [
  \"127.0.0.1:8081\",
  \"127.0.0.1:8080\",
  \"127.0.0.1:8082\",
]
";

fn load(file: &str, variables: &[(&str, &str)], flags: &Flags) -> Result<Config, ConfigError> {
    let variables: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(Some(("c.toml", file)), &|name| variables.get(name).cloned(), flags)
}

/// Loads the file of three nodes with `more` appended to it. `more` starts on line 7.
fn load_with(more: &str) -> Result<Config, ConfigError> {
    load(&format!("{FILE}{more}"), &[], &Flags::default())
}

/// Loads the file of three nodes with one environment variable.
fn load_with_variable(name: &str, value: &str) -> Result<Config, ConfigError> {
    load(FILE, &[(name, value)], &Flags::default())
}

fn error(result: Result<Config, ConfigError>) -> String {
    let text = result.expect_err("the configuration is invalid").to_string();
    assert_eq!(text.lines().count(), 1, "an error is one line: {text}");
    text
}

#[test]
fn a_file_may_begin_with_a_byte_order_mark_and_have_the_line_ends_of_windows() {
    let file = format!("\u{feff}{FILE}").replace('\n', "\r\n");
    assert_eq!(load(&file, &[], &Flags::default()).unwrap(), load_with("").unwrap());
}

#[test]
fn an_ipv4_address_in_ipv6_form_names_the_same_node() {
    let flags = Flags { this_node: Some("[::ffff:10.0.0.1]:8080".into()), ..Flags::default() };
    let config = load("peers = [\"10.0.0.1:8080\"]", &[], &flags).unwrap();
    assert_eq!((config.node.to_string().as_str(), config.api.url.as_str()), ("10.0.0.1:8080", "http://10.0.0.1:3000"));
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = load_with("").unwrap();
    assert_eq!(
        config.peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082"]
    );
    assert_eq!(
        config.timings,
        Timings {
            heartbeat_interval_ms: 1000,
            election_timeout_min_ms: 3000,
            election_timeout_max_ms: 5000,
            leader_term_ms: 10_000,
            net_timeout_ms: 2000,
            election_retry_ms: 100,
        }
    );
    assert_eq!(config.cpu_refresh_ms, 500);
    assert_eq!(config.load_source, LoadSourceConfig::Cpu);
    assert_eq!(config.api.socket_addr().to_string(), "0.0.0.0:3000");
    assert_eq!(config.api.url, "http://127.0.0.1:3000");
    assert_eq!(config.api.max_connections, 16_384);
    assert_eq!(config.api.cors, CorsConfig::Any);
    assert_eq!(config.presence.ttl_ms, 30_000);
    assert_eq!(config.passwords, PasswordConfig { required: false, token_seconds: 30 * 86_400 });
    assert_eq!(config.storage, StorageConfig::Local { dir: "data/bucket".into(), min_free_bytes: None });
    assert_eq!(config.storage_timeout_ms, 5000);
    assert_eq!(config.node_dir(), PathBuf::from("data/127.0.0.1:8080"));
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn each_setting_has_the_default_that_the_settings_table_gives() {
    for setting in SETTINGS {
        let Some(default) = setting.default else { continue };
        assert_eq!(load_with_variable(setting.env, default).unwrap(), load_with("").unwrap(), "{}", setting.key);
    }
}

#[test]
fn the_number_of_connections_is_from_one_to_a_million() {
    for (given, expected) in [("1", Some(1)), ("1000000", Some(1_000_000)), ("0", None), ("1000001", None)] {
        let read = load_with_variable("ROLLCALL_MAX_CONNECTIONS", given).ok();
        assert_eq!(read.map(|config| config.api.max_connections), expected, "{given}");
    }
}

#[test]
fn the_help_of_a_flag_shows_the_default_from_the_settings_table() {
    let command = Flags::augment_args(clap::Command::new("node"));
    for setting in SETTINGS {
        let (Some(flag), Some(default)) = (setting.flag, setting.default) else { continue };
        let mut arguments = command.get_arguments();
        let argument = arguments.find(|argument| argument.get_long() == flag.strip_prefix("--")).expect(flag);
        let help = argument.get_help().expect(flag).to_string();
        assert!(help.ends_with(&format!("[default: {default}]")), "{flag}: {help}");
    }
}

#[test]
fn the_shipped_config_toml_has_the_default_values() {
    let shipped = include_str!("../../../config.toml");
    let config = load(shipped, &[], &Flags::default()).unwrap();
    assert_eq!(config, load_with("").unwrap());
    // The file shows every setting. Each commented-out line sets the default value, except for
    // buckets, containers, a folder and its drive, an emulator, a cluster key, TLS and the free
    // space.
    let commented: Vec<&str> = shipped.lines().filter_map(|line| line.strip_prefix("#")).collect();
    let shown: Vec<&str> =
        commented.into_iter().filter(|line| line.contains(" = ") && !line.starts_with(' ')).collect();
    for setting in SETTINGS {
        let is_shown =
            shown.iter().any(|line| line.starts_with(setting.key)) || shipped.contains(&format!("\n{} =", setting.key));
        assert!(is_shown, "config.toml does not show {}", setting.key);
    }
    for line in shown.iter().filter(|line| {
        ![
            "bucket",
            "container",
            "folder_id",
            "drive_id",
            "emulator",
            "cluster_key",
            "min_free_bytes",
            "node_c",
            "node_key",
            "tls_",
        ]
        .iter()
        .any(|word| line.contains(word))
    }) {
        assert_eq!(load_with(line).unwrap(), load_with("").unwrap(), "{line}");
    }
}

#[test]
fn quotas_have_defaults_and_0_removes_each() {
    let defaults = load_with("").unwrap().quotas;
    let (burst, rate) = (defaults.registration_burst, defaults.registration_rate);
    assert_eq!((burst, rate, defaults.max_users), (200, Some(2), Some(1_000_000)));
    assert_eq!((defaults.upload_burst_bytes, defaults.upload_rate_bytes), (256 * 1024 * 1024, Some(256 * 1024)));
    assert_eq!(defaults.max_images_per_user, Some(100));
    assert_eq!(defaults.max_image_bytes_per_user, Some(16 * 1024 * 1024));
    let names =
        ["registration_rate", "upload_rate_bytes", "max_users", "max_images_per_user", "max_image_bytes_per_user"];
    let none = load_with(&names.map(|name| format!("{name} = 0")).join("\n")).unwrap().quotas;
    assert_eq!((none.registration_rate, none.upload_rate_bytes, none.max_users), (None, None, None));
    assert_eq!((none.max_images_per_user, none.max_image_bytes_per_user), (None, None));
    for (wrong, expected) in [
        ("registration_burst = 0", "from 1 to"),
        ("registration_rate = 101", "from 0 to 100"),
        ("upload_burst_bytes = 0", "from 1 to"),
        ("upload_rate_bytes = -1", "from 0 to"),
        ("max_users = -1", "from 0 to"),
        ("max_images_per_user = \"many\"", "from 0 to"),
    ] {
        let text = error(load_with(wrong));
        assert!(text.contains(expected), "{wrong}: {text}");
    }
    assert_eq!(load_with_variable("ROLLCALL_REGISTRATION_RATE", "100").unwrap().quotas.registration_rate, Some(100));
}

#[test]
fn the_free_space_of_a_local_bucket_is_a_setting() {
    let min_free_bytes = |text: &str| match load_with(text).unwrap().storage {
        StorageConfig::Local { min_free_bytes, .. } => min_free_bytes,
        other => panic!("{other:?}"),
    };
    assert_eq!(["", "min_free_bytes = 0", "min_free_bytes = 7"].map(min_free_bytes), [None, Some(0), Some(7)]);
    assert!(load_with("min_free_bytes = -1").is_err());
    assert!(load_with("min_free_bytes = -1\ns3_bucket = \"b\"").is_err(), "an invalid value is never ignored");
}

#[test]
fn tokens_are_valid_for_one_day_to_ten_years() {
    for (days, seconds) in [("1", 86_400), ("3650", 3650 * 86_400)] {
        assert_eq!(load_with_variable("ROLLCALL_TOKEN_DAYS", days).unwrap().passwords.token_seconds, seconds);
    }
    for wrong in ["0", "3651", "-1", "a month"] {
        assert!(load_with_variable("ROLLCALL_TOKEN_DAYS", wrong).is_err(), "{wrong}");
    }
    assert!(load_with_variable("ROLLCALL_REQUIRE_PASSWORD", "true").unwrap().passwords.required);
    assert!(load_with("require_password = true").unwrap().passwords.required);
    assert!(load_with("require_password = \"perhaps\"").is_err());
}

#[test]
fn a_flag_overrides_the_environment_and_the_environment_overrides_the_file() {
    let flags = Flags { api_port: Some("3003".into()), ..Flags::default() };
    let file = format!("{FILE}api_port = 3001");
    assert_eq!(load(&file, &[], &Flags::default()).unwrap().api.port, 3001);
    assert_eq!(load(&file, &[("API_PORT", "3002")], &Flags::default()).unwrap().api.port, 3002);
    assert_eq!(load(&file, &[("API_PORT", "3002")], &flags).unwrap().api.port, 3003);
}

#[test]
fn every_flag_sets_its_setting() {
    let flags = Flags {
        config: None,
        this_node: Some("[::1]:9001".into()),
        peers: Some("[::1]:9000, [::1]:9001,[::1]:9002,".into()),
        api_port: Some("4000".into()),
        api_bind: Some("::1".into()),
        api_url: Some("https://example.org/rollcall/".into()),
        data_dir: Some("/var/lib/rollcall".into()),
    };
    let config = Config::load(None, &|_| None, &flags).unwrap();
    assert_eq!(config.node.to_string(), "[::1]:9001");
    assert_eq!(config.peers.len(), 3);
    assert_eq!(config.api.socket_addr().to_string(), "[::1]:4000");
    assert_eq!(config.api.url, "https://example.org/rollcall");
    assert_eq!(config.storage, StorageConfig::Local { dir: "/var/lib/rollcall/bucket".into(), min_free_bytes: None });
    let config = Config::load(None, &|_| None, &Flags { api_url: None, ..flags }).unwrap();
    assert_eq!(config.api.url, "http://[::1]:4000");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    assert_eq!(load_with_variable("API_PORT", "").unwrap().api.port, 3000);
    assert_eq!(load_with_variable("FIREBASE_BUCKET", "").unwrap().storage, load_with("").unwrap().storage);
}

#[test]
fn a_configuration_may_come_from_the_environment_alone() {
    let variable = |name: &str| match name {
        "ROLLCALL_THIS_NODE" | "ROLLCALL_PEERS" => Some("10.0.0.1:8080".to_owned()),
        _ => None,
    };
    assert_eq!(Config::load(None, &variable, &Flags::default()).unwrap().peers.len(), 1);
}

#[test]
fn the_error_about_a_missing_configuration_names_the_remedies() {
    let text = error(Config::load(None, &|_| None, &Flags::default()));
    assert_eq!(
        text,
        "no configuration: there is no config.toml in this directory; name one with --config FILE, or give --this-node and --peers, or try `rollcall demo`"
    );
    let flags_without_peers = Flags { this_node: Some("127.0.0.1:8080".into()), ..Flags::default() };
    assert_eq!(error(Config::load(None, &|_| None, &flags_without_peers)), text);
}

#[test]
fn the_error_about_a_missing_setting_names_it() {
    let text = error(load("peers = [\"127.0.0.1:8080\"]", &[], &Flags::default()));
    assert_eq!(
        text,
        "this_node is not set; set it in the configuration file, with --this-node or in ROLLCALL_THIS_NODE"
    );
    let text = error(load("this_node = \"127.0.0.1:8080\"", &[], &Flags::default()));
    assert_eq!(text, "peers is not set; set it in the configuration file, with --peers or in ROLLCALL_PEERS");
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    assert!(error(load_with("api_port = ")).starts_with("c.toml:7: not valid TOML: "));
    assert!(error(load_with("api_port = 1\napi_port = 2")).starts_with("c.toml:8: not valid TOML: "));
}

#[test]
fn the_error_about_an_unknown_key_suggests_the_nearest_key() {
    let text = error(load_with("\nheartbeat_intervall_ms = 500"));
    assert_eq!(text, "c.toml:8: unknown key \"heartbeat_intervall_ms\"; did you mean heartbeat_interval_ms?");
    let text = error(load_with("[colours]\nsky = 1"));
    assert_eq!(text, "c.toml:7: unknown key \"colours\"; remove it (config.toml of the distribution lists every key)");
}

#[test]
fn the_error_about_a_wrong_type_shows_the_value_as_written() {
    for (line, given) in [
        ("heartbeat_interval_ms = \"1000\"", "\"1000\""),
        ("heartbeat_interval_ms = 1000.0", "1000.0"),
        ("heartbeat_interval_ms = -5", "-5"),
        ("heartbeat_interval_ms = true", "true"),
        ("heartbeat_interval_ms = 0", "0"),
        ("heartbeat_interval_ms = 99999999999999999999", "99999999999999999999"),
        ("[heartbeat_interval_ms]", "a table"),
    ] {
        let right = "but must be a whole number from 1 to 86400000";
        assert_eq!(error(load_with(line)), format!("c.toml:7: heartbeat_interval_ms is {given}, {right}"));
    }
    assert!(error(load_with("api_bind = 5")).starts_with("c.toml:7: api_bind is 5, but must be an IP address"));
    assert!(error(load_with("cors_origins = \"*\"")).starts_with("c.toml:7: cors_origins is \"*\", but must be"));
    let text = error(load("this_node = \"127.0.0.1:8080\"\npeers = [\n1]", &[], &Flags::default()));
    assert!(text.starts_with("c.toml:3: peers is 1, but must be a list of IP:PORT"), "{text}");
}

#[test]
fn the_error_about_an_invalid_value_names_the_variable_or_the_flag() {
    let right = "api_port is \"80a\", but must be a whole number from 1 to 65535";
    assert_eq!(error(load_with_variable("API_PORT", "80a")), format!("environment variable API_PORT: {right}"));
    let flags = Flags { api_port: Some("80a".into()), ..Flags::default() };
    assert_eq!(error(load(FILE, &[], &flags)), format!("--api-port: {right}"));
    assert!(load_with_variable("API_PORT", "+80").is_err());
    assert!(load_with_variable("API_PORT", "0").is_err());
    assert!(load_with_variable("API_PORT", "1").is_ok());
    assert!(load_with_variable("API_PORT", "65535").is_ok());
    assert!(load_with_variable("API_PORT", "65536").is_err());
}

#[test]
fn an_error_shows_a_long_or_multiline_value_as_one_short_line() {
    let text = error(load_with_variable("API_PORT", &format!("a\nb{}", "x".repeat(10_000))));
    assert!(text.len() < 300, "{text}");
    assert!(error(load_with("api_bind = [\n1,\n2]")).starts_with("c.toml:7: api_bind is [ 1, 2], but"));
}

#[test]
fn this_node_must_be_a_peer() {
    let flags = Flags { this_node: Some("127.0.0.1:8083".into()), ..Flags::default() };
    assert_eq!(
        error(load(FILE, &[], &flags)),
        "--this-node: this_node is 127.0.0.1:8083, which is not one of peers (127.0.0.1:8080, 127.0.0.1:8081, 127.0.0.1:8082); add it to peers on every node, or name one of them with --this-node"
    );
    let flags = Flags { this_node: Some("localhost:8080".into()), ..Flags::default() };
    assert!(error(load(FILE, &[], &flags)).starts_with("--this-node: this_node is \"localhost:8080\", but must be"));
}

#[test]
fn a_peer_named_twice_is_reported_on_the_line_of_the_second_mention() {
    let file = "this_node = \"1.1.1.1:1\"\npeers = [\n\"1.1.1.1:1\",\n\"1.1.1.2:1\",\n\"1.1.1.1:1\"]";
    let text = error(load(file, &[], &Flags::default()));
    assert_eq!(text, "c.toml:5: peers names 1.1.1.1:1 twice; name every node once");
}

#[test]
fn seven_peers_are_allowed_and_eight_are_not() {
    let peers = |count: u16| Flags {
        this_node: Some("1.1.1.1:1".into()),
        peers: Some((1..=count).map(|port| format!("1.1.1.1:{port}")).collect::<Vec<_>>().join(",")),
        ..Flags::default()
    };
    assert_eq!(load("", &[], &peers(7)).unwrap().peers.len(), 7);
    let text = error(load("", &[], &peers(8)));
    assert_eq!(text, "--peers: peers names 8 nodes; use 3 or 5, and at most 7");
    assert!(error(load("", &[], &peers(0))).contains("which is not one of peers ()"));
}

#[test]
fn the_minimum_timeout_is_less_than_the_maximum() {
    assert!(load_with("election_timeout_min_ms = 4999").is_ok());
    let text = error(load_with("\nelection_timeout_min_ms = 5000"));
    assert!(
        text.starts_with("c.toml:8: election_timeout_min_ms is 5000 and election_timeout_max_ms is 5000"),
        "{text}"
    );
    assert!(
        error(load_with("election_timeout_max_ms = 3000")).starts_with("c.toml:7: election_timeout_min_ms is 3000 and")
    );
}

#[test]
fn two_heartbeats_fit_into_a_lease() {
    assert!(load_with("heartbeat_interval_ms = 1249").is_ok());
    assert_eq!(
        error(load_with("heartbeat_interval_ms = 1250")),
        "c.toml:7: heartbeat_interval_ms is 1250, too slow for an election_timeout_min_ms of 3000: two heartbeats must fit into a lease of 5/6 of it; set heartbeat_interval_ms to at most 1249, or raise election_timeout_min_ms to at least 3001"
    );
    assert!(load_with("election_timeout_min_ms = 2401").is_ok());
    let text = error(load_with("election_timeout_min_ms = 2400"));
    assert!(text.starts_with("c.toml:7: heartbeat_interval_ms is 1000, too slow"), "{text}");
    assert!(text.ends_with("to at most 999, or raise election_timeout_min_ms to at least 2401"), "{text}");
}

#[test]
fn a_time_is_at_most_a_day() {
    assert!(load_with("leader_term_ms = 86_400_000").is_ok());
    assert!(load_with("leader_term_ms = 86_400_001").is_err());
    assert_eq!(load_with_variable("HEARTBEAT_TTL_SECONDS", "86400").unwrap().presence.ttl_ms, 86_400_000);
    assert!(load_with_variable("HEARTBEAT_TTL_SECONDS", "86401").is_err());
    assert!(load_with_variable("HEARTBEAT_TTL_SECONDS", "0").is_err());
}

#[test]
fn the_api_port_must_differ_from_the_election_port() {
    assert_eq!(
        error(load_with_variable("API_PORT", "8080")),
        "environment variable API_PORT: api_port is 8080, which is also the election port of this_node; choose another, such as 3000"
    );
    assert!(load_with_variable("API_PORT", "8081").is_ok(), "another node's election port may be on another machine");
}

const SECRET: &str = "a secret of the cluster";

#[test]
fn a_cluster_key_has_a_minimum_length_and_is_never_shown() {
    let right = format!("cluster_key = {SECRET:?}");
    let config = load_with(&right).unwrap();
    assert_eq!(config.cluster_key.as_ref().unwrap().reveal(), SECRET.as_bytes());
    assert!(!format!("{config:?}").contains("secret"), "{config:?}");
    assert_eq!(load_with_variable("ROLLCALL_CLUSTER_KEY", SECRET).unwrap(), config);
    assert!(load_with("cluster_key = \"0123456789abcdef\"").is_ok());
    assert_eq!(
        error(load_with("cluster_key = \"0123456789abcde\"")),
        "c.toml:7: cluster_key is a value that is not shown here, but must be a text of at least 16 characters, the same on all nodes"
    );
    let wrong = [
        load_with("cluster_key = 7356891"),
        load_with("cluster_key = [\"7356891\"]"),
        load_with("cluster_key = 7356891-secret"),
        load_with("cluster_key = \"7356891"),
        load_with("cluster_key = \"7356891\"\ncluster_key = \"7356891\""),
        load_with_variable("ROLLCALL_CLUSTER_KEY", "7356891"),
    ];
    for text in wrong.map(error) {
        assert!(!text.contains("7356891"), "{text}");
    }
}

#[test]
fn a_cluster_key_may_be_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (folder.path().join("c.toml"), folder.path().join("key"));
    fs::write(&file, FILE).unwrap();
    let read = |more: &str| {
        let variable = |name: &str| match name {
            "ROLLCALL_CLUSTER_KEY_FILE" => Some(key.display().to_string()),
            "ROLLCALL_CLUSTER_KEY" => Some(more.to_owned()),
            _ => None,
        };
        Config::read(&variable, &Flags { config: Some(file.clone()), ..Flags::default() })
    };
    assert!(error(read("")).starts_with(&format!("cannot read the cluster_key_file {}: ", key.display())));
    fs::write(&key, "secret\n").unwrap();
    let text = error(read(""));
    assert!(text.ends_with("holds no key: a cluster key has at least 16 characters"), "{text}");
    fs::write(&key, format!("{SECRET}\n")).unwrap();
    assert_eq!(read("").unwrap().cluster_key.unwrap().reveal(), SECRET.as_bytes());
    let text = error(read(SECRET));
    assert!(text.ends_with("cluster_key_file is set, and cluster_key is set too; give one of the two"), "{text}");
}

#[test]
fn a_load_source_is_the_cpu_or_a_file() {
    assert_eq!(load_with("load_source = \"cpu\"").unwrap().load_source, LoadSourceConfig::Cpu);
    assert_eq!(
        load_with("load_source = \"file:/run/load\"").unwrap().load_source,
        LoadSourceConfig::File("/run/load".into())
    );
    for wrong in ["", "file:", "CPU", "/run/load"] {
        assert!(load_with(&format!("load_source = {wrong:?}")).is_err(), "{wrong:?}");
    }
}

#[test]
fn an_api_url_has_a_host_but_no_credentials_query_or_fragment() {
    for right in ["http://a:1", "https://a.example/", "http://[::1]:3000"] {
        assert_eq!(load_with_variable("ROLLCALL_API_URL", right).unwrap().api.url, right.trim_end_matches('/'));
    }
    for wrong in ["a:3000", "/path", "ftp://a", "http://", "http://u:p@a", "http://a?b", "http://a#b", "http://a b"] {
        assert!(load_with_variable("ROLLCALL_API_URL", wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn cors_allows_any_origin_or_none_or_a_list() {
    assert_eq!(load_with("cors_origins = []").unwrap().api.cors, CorsConfig::Off);
    assert_eq!(load_with_variable("ROLLCALL_CORS_ORIGINS", "none").unwrap().api.cors, CorsConfig::Off);
    assert_eq!(load_with_variable("ROLLCALL_CORS_ORIGINS", "*").unwrap().api.cors, CorsConfig::Any);
    assert_eq!(
        load_with_variable("ROLLCALL_CORS_ORIGINS", "https://a.example, http://localhost:5173").unwrap().api.cors,
        CorsConfig::Only(vec!["https://a.example".into(), "http://localhost:5173".into()])
    );
    for wrong in ["a.example", "https://a.example/", "https://a.example/page", "*,https://a.example"] {
        assert!(load_with_variable("ROLLCALL_CORS_ORIGINS", wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn proxies_are_networks_or_addresses_and_report_clients_in_one_header() {
    let proxies = |networks: &[&str], header| {
        TrustedProxies::new(networks.iter().map(|text| ProxyNetwork::parse(text).unwrap()).collect(), header)
    };
    let (by_default, rfc7239) = (ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded);
    assert_eq!(load_with("").unwrap().api.proxies, proxies(&[], by_default));
    let networks = ["10.0.0.0/8", "fd00::1"];
    let file = "trusted_proxies = [\"10.0.0.0/8\", \"fd00::1\"]\nforwarded_header = \"forwarded\"";
    assert_eq!(load_with(file).unwrap().api.proxies, proxies(&networks, rfc7239));
    let variable = load_with_variable("ROLLCALL_TRUSTED_PROXIES", "10.0.0.0/8, fd00::1").unwrap();
    assert_eq!(variable.api.proxies, proxies(&networks, by_default));
    let text = error(load_with("trusted_proxies = [\"10.0.0.0/8\", \"0.0.0.0/0\"]"));
    assert!(text.starts_with("c.toml:7: trusted_proxies is \"0.0.0.0/0\", but must be a list of networks"), "{text}");
    let text = error(load_with("forwarded_header = \"x-real-ip\""));
    assert!(text.ends_with("but must be \"x-forwarded-for\" or \"forwarded\""), "{text}");
}

#[test]
fn a_bucket_in_the_environment_selects_google_cloud_storage() {
    let gcs = |endpoint: Option<&str>, credentials: &str| StorageConfig::Gcs {
        bucket: BucketName::parse("your-project.firebasestorage.app").unwrap(),
        credentials: credentials.into(),
        endpoint: endpoint.map(str::to_owned),
    };
    let bucket = ("FIREBASE_BUCKET", "your-project.firebasestorage.app");
    let storage = |more: &[(&str, &str)]| load(FILE, &[&[bucket], more].concat(), &Flags::default()).unwrap().storage;
    assert_eq!(storage(&[]), gcs(None, "credentials/firebase-storage.json"));
    assert_eq!(storage(&[("GOOGLE_APPLICATION_CREDENTIALS", "key.json")]), gcs(None, "key.json"));
    let default = "credentials/firebase-storage.json";
    assert_eq!(storage(&[("STORAGE_EMULATOR_HOST", "localhost:4443")]), gcs(Some("http://localhost:4443"), default));
    assert_eq!(storage(&[("STORAGE_EMULATOR_HOST", "http://e:1/")]), gcs(Some("http://e:1"), default));
    let copied = ("FIREBASE_BUCKET", "gs://your-project.firebasestorage.app/");
    assert_eq!(load(FILE, &[copied], &Flags::default()).unwrap().storage, storage(&[]));
    for wrong in ["gs://bucket/path", "bucket/path", "Bucket", "ab", "-ab", "ab."] {
        assert!(load_with_variable("FIREBASE_BUCKET", wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn the_variables_of_requirement_001_select_google_drive() {
    let (drive, folder) = (("SHARED_DRIVE_ID", "0AExampl"), ("REGISTERED_USERS_FOLDER_ID", "1Exampl-Pic_dK"));
    let config = DriveConfig {
        drive: drive.1.to_owned(),
        folder: folder.1.to_owned(),
        credentials: "credentials/service-account.json".into(),
        endpoint: None,
        table_dir: Some("data".into()),
        settle_time: DriveConfig::SETTLE_TIME,
        page_size: DriveConfig::MAX_PAGE_SIZE,
    };
    let storage = |more: &[(&str, &str)]| load(FILE, &[&[drive, folder], more].concat(), &Flags::default());
    assert_eq!(storage(&[]).unwrap().storage_timeout_ms, 20_000);
    assert_eq!(storage(&[("ROLLCALL_STORAGE_TIMEOUT_MS", "5000")]).unwrap().storage_timeout_ms, 5000);
    assert_eq!(storage(&[]).unwrap().storage, StorageConfig::Drive(config.clone()));
    let other = DriveConfig { credentials: "k.json".into(), endpoint: Some("http://localhost:1".into()), ..config };
    let variables = [("GOOGLE_CREDENTIALS", "k.json"), ("DRIVE_EMULATOR_HOST", "localhost:1")];
    assert_eq!(storage(&variables).unwrap().storage, StorageConfig::Drive(other));

    for (variables, words) in [
        (&[drive][..], "registered_users_folder_id is not set"),
        (&[folder], "shared_drive_id is not set"),
        (&[drive, ("REGISTERED_USERS_FOLDER_ID", "a/b/c/d")], "the last part of the address"),
        (&[("SHARED_DRIVE_ID", "shrt"), folder], "the last part of the address"),
        (&[drive, folder, ("FIREBASE_BUCKET", "bucket")], "two storages are chosen"),
        (&[drive, folder, ("S3_BUCKET", "bucket")], "two storages are chosen"),
        (&[drive, folder, ("GOOGLE_CREDENTIALS", "{\"private_key\": 1}")], "google_credentials holds a key"),
    ] {
        let text = error(load(FILE, variables, &Flags::default()));
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_key_in_place_of_its_file_is_an_error_that_does_not_show_it() {
    let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".repeat(40);
    for key in [
        format!("-----BEGIN PRIVATE KEY-----\\n{body}\\n-----END PRIVATE KEY-----\\n"),
        format!("{{\"private_key\": \"{body}\"}}"),
        body.clone(),
    ] {
        let variables = [("FIREBASE_BUCKET", "bucket"), ("GOOGLE_APPLICATION_CREDENTIALS", key.as_str())];
        let text = load(FILE, &variables, &Flags::default()).unwrap_err().to_string();
        assert!(text.contains("google_application_credentials holds a key") && !text.contains("MIIE"), "{text}");
    }
}

#[test]
fn missing_credentials_are_an_error_unless_an_emulator_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    fs::write(&file, FILE).unwrap();
    let key = folder.path().join("key.json");
    let read = |emulator: &str| {
        let variable = |name: &str| match name {
            "FIREBASE_BUCKET" => Some("bucket".to_owned()),
            "GOOGLE_APPLICATION_CREDENTIALS" => Some(key.display().to_string()),
            "STORAGE_EMULATOR_HOST" => Some(emulator.to_owned()),
            _ => None,
        };
        Config::read(&variable, &Flags { config: Some(file.clone()), ..Flags::default() })
    };
    let text = error(read(""));
    assert!(text.starts_with(&format!("cannot read the credentials file {}: ", key.display())), "{text}");
    assert!(text.contains("unset FIREBASE_BUCKET"), "{text}");
    assert!(read("localhost:1").is_ok());
    fs::write(&key, "{}").unwrap();
    assert!(read("").is_ok());
}

#[test]
fn a_configuration_file_that_is_named_but_missing_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let flags = Flags { config: Some(folder.path().join("none.toml")), ..Flags::default() };
    let text = error(Config::read(&|_| None, &flags));
    assert!(text.starts_with("cannot read the configuration file "), "{text}");
    assert!(text.ends_with("name it with --config FILE, or try `rollcall demo`"), "{text}");
}

#[test]
fn probably_unintended_values_give_a_warning() {
    let warnings = |peers: &str| {
        let flags = Flags { this_node: Some("127.0.0.1:1".into()), peers: Some(peers.to_owned()), ..Flags::default() };
        load("", &[], &flags).unwrap().warnings
    };
    assert!(warnings("127.0.0.1:1").is_empty());
    assert!(warnings("127.0.0.1:1,127.0.0.1:2")[0].contains("both are needed"));
    assert!(warnings("127.0.0.1:1,127.0.0.1:2,127.0.0.1:3").is_empty());
    assert!(warnings("127.0.0.1:1,127.0.0.1:2,127.0.0.1:3,127.0.0.1:4")[0].contains("4 nodes survive no more"));
    assert!(warnings("127.0.0.1:1,10.0.0.1:2,10.0.0.1:3")[0].contains("127.0.0.1:1 can be reached"));
    let compat = load_with("discovery_server_compat = true").unwrap();
    assert!(compat.discovery_server_compat && compat.warnings[0].contains("discovery_server_compat is on"));
    assert!(load_with_variable("ROLLCALL_DISCOVERY_SERVER_COMPAT", "true").unwrap().discovery_server_compat);
    assert!(!load_with("").unwrap().discovery_server_compat);
    assert!(load_with_variable("STORAGE_EMULATOR_HOST", "e:1").unwrap().warnings[0].contains("has no effect"));
}
