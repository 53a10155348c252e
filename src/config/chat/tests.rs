//! Both sides of each check of the chat peer's settings, and the text of each error.

use super::*;

const EXAMPLE: &str = r#"
listen_addr: "localhost:8080"
peers: ["localhost:8081", "localhost:8082"]
max_connections: 50
connect_timeout: "10s"
heartbeat_interval: "30s"
heartbeat_timeout: "5s"
message_buffer_size: 16
dedup_cache_size: 100
log_level: "info"
log_format: "text"
"#;

fn read(file: &str, variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<PeerSettings, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, file).unwrap();
    let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let flags: Vec<_> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    Ok(super::read(Some(&path), &variable, &flags)?.settings)
}

#[test]
fn the_documented_file_is_read_as_yaml_and_as_json() {
    let settings = read(EXAMPLE, &[], &[]).unwrap();
    assert_eq!(settings.listen_addr, "localhost:8080");
    assert_eq!(settings.peers.len(), 2);
    assert_eq!((settings.max_connections, settings.message_buffer_size, settings.dedup_cache_size), (50, 16, 100));
    assert_eq!(settings.connect_timeout, Duration::from_secs(10));
    let json = r#"{"listen_addr":"localhost:8080","peers":["localhost:8081","localhost:8082"],"connect_timeout":"10s","log_level":"info"}"#;
    assert_eq!(read(json, &[], &[]).unwrap(), settings, "all other settings have their defaults");
    for file in [EXAMPLE, json] {
        let with_byte_order_mark = format!("\u{feff}{file}");
        assert_eq!(read(&with_byte_order_mark, &[], &[]).unwrap(), settings);
        assert_eq!(read(&with_byte_order_mark.replace('\n', "\r\n"), &[], &[]).unwrap(), settings);
    }
}

#[test]
fn each_setting_has_the_default_that_the_settings_table_gives() {
    for setting in SETTINGS {
        let Some(default) = setting.default else { continue };
        assert_eq!(read("", &[(setting.env, default)], &[]).unwrap(), read("", &[], &[]).unwrap(), "{}", setting.key);
    }
}

#[test]
fn a_flag_overrides_a_variable_and_a_variable_overrides_the_file() {
    let variables = [("P2P_PEERS", "a:1, b:2"), ("P2P_MAX_CONNECTIONS", "7"), ("P2P_LISTEN_ADDR", "")];
    let settings = read(EXAMPLE, &variables, &[("max_connections", "9")]).unwrap();
    assert_eq!((settings.max_connections, settings.peers[1].to_string()), (9, "b:2".to_owned()));
    assert_eq!(settings.listen_addr, "localhost:8080", "an empty variable counts as unset");
}

#[test]
fn an_error_names_the_source_the_value_and_the_rule() {
    let error = read(EXAMPLE, &[("P2P_HEARTBEAT_INTERVAL", "soon")], &[]).unwrap_err().to_string();
    assert_eq!(error, r#"environment: heartbeat_interval is "soon", but must be a time such as 500ms, 5s or 1m30s"#);
    let error = read(&format!("{}: 5\n", "\u{1b}x".repeat(9_999)), &[], &[]).unwrap_err().to_string();
    assert!(error.chars().count() < 600 && !error.contains('\u{1b}'), "{error}");
    for bad in [
        "lan: maybe",
        "lan_addresses: [here]",
        "max_connections: 0",
        "peers: [a]",
        "listen_addr: x",
        "registry: ftp://x",
        "log_level: loud",
        "log_format: xml",
        "metrics_addr: here",
        "metrics_addr: ':x'",
    ] {
        assert!(read(bad, &[], &[]).is_err(), "{bad}");
    }
    assert!(read("", &[], &[]).is_ok());
}

#[test]
fn an_invalid_value_is_an_error_even_if_it_is_overridden() {
    let error_text = |file, variables: &[(&str, &str)], flags: &[(&'static str, &str)]| {
        read(file, variables, flags).unwrap_err().to_string()
    };
    assert_eq!(
        error_text("", &[("P2P_LAN", "maybe")], &[("lan", "false")]),
        r#"environment: lan is "maybe", but must be true or false"#
    );
    let error = error_text("connect_timeout: soon", &[("P2P_CONNECT_TIMEOUT", "5s")], &[("connect_timeout", "6s")]);
    assert!(error.contains(r#"config.yaml:1: connect_timeout is "soon""#), "{error}");
    let error = error_text("log_level: loud", &[("RUST_LOG", "warn")], &[]);
    assert!(error.contains(r#"config.yaml:1: log_level is "loud""#), "{error}");
}

#[test]
fn an_empty_directory_is_an_error_and_an_empty_variable_is_ignored() {
    assert_eq!(
        read("", &[], &[("dir", "")]).unwrap_err().to_string(),
        r#"command line: dir is "", but must be a directory"#
    );
    assert!(read("dir: ' '", &[], &[]).is_err());
    assert_eq!(read("", &[("P2P_DIR", "")], &[]).unwrap().dir, None);
}

#[test]
fn an_error_of_the_file_is_one_line_with_the_file_the_key_and_the_rule() {
    for (file, expected) in [
        ("lan: maybe", r#":1: lan is "maybe", but must be true or false"#),
        ("max_connections: many", r#":1: max_connections is "many", but must be a whole number from 1 to 1000000"#),
        ("history_size: -1", r#":1: history_size is "-1", but must be a whole number from 1 to 1000000"#),
        ("connect_timeout: 10", r#":1: connect_timeout is "10", but must be a time such as 500ms, 5s or 1m30s"#),
        ("lan_addresses: here", r#":1: lan_addresses is "here", but must be IPv4 addresses such as 192.168.1.255"#),
        ("name: [al, bo]", ": name: expected string scalar at line 1, column 7"),
        ("peers: {a: 1}", ": peers: invalid type: map, expected a list of texts at line 1, column 8"),
        ("name: al\nname: bo", ": duplicate mapping key `name` is not allowed here at line 2, column 1"),
        ("hello", ": expected mapping start at line 1, column 1"),
        ("name: \"al", ": name: unclosed quote at line 1, column 7"),
    ] {
        let error = read(file, &[], &[]).unwrap_err().to_string();
        assert_eq!(error.split_once("config.yaml").expect("the file").1, expected, "{file}");
    }
    let error = read("colour: red\n", &[], &[]).unwrap_err().to_string();
    let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
    let expected = format!(r#"config.yaml:1: there is no setting "colour"; there are {}"#, names.join(", "));
    assert!(error.ends_with(&expected), "{error}");
}

#[test]
fn an_error_of_the_file_names_the_line_of_the_value_or_item() {
    for (file, expected) in [
        ("# a peer\nname: al\nlan: maybe\n", r#"3: lan is "maybe", but must be true or false"#),
        ("name: al\npeers:\n  - a:1\n  - b\n", r#"4: peers is "b", but must be a list of host:port"#),
        ("peers: [\"a:1,b\"]", r#"1: peers is "b", but must be a list of host:port"#),
        ("{\n\"name\": \"al\",\n\"dir\":\n\"\"}", r#"4: dir is "", but must be a directory"#),
        ("name: al\n\ncolour: red\nlan: maybe", r#"3: there is no setting "colour"; there are name"#),
        ("lan: &no maybe\nname: *no\n", r#"1: lan is "maybe""#),
    ] {
        let error = read(file, &[], &[]).unwrap_err().to_string();
        assert!(error.contains(&format!("config.yaml:{expected}")), "{error}");
    }
    let error = read("", &[("P2P_PEERS", "a:1, b")], &[]).unwrap_err().to_string();
    assert_eq!(error, r#"environment: peers is "b", but must be a list of host:port"#);
}

#[test]
fn the_error_about_an_unreadable_file_names_the_file() {
    let error = super::read(Some(Path::new("no/such/file.yaml")), &|_| None, &[]).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the configuration file no/such/file.yaml: "), "{error}");
    assert!(!error.contains("rollcall demo"), "{error}");
}

#[test]
fn a_value_of_the_file_is_taken_as_text() {
    let settings = read("name: 007\nlan: No\npeers: a:1\nregistry: [http://a, http://b/]\ndir: ~\n", &[], &[]).unwrap();
    assert_eq!((settings.name.as_str(), settings.lan, settings.dir), ("007", false, None));
    assert_eq!((settings.peers.len(), settings.registry), (1, vec!["http://a".to_owned(), "http://b".to_owned()]));
}

#[test]
fn the_sample_file_has_the_documented_values() {
    let sample = include_str!("../../../example-config.yaml");
    assert_eq!(read(sample, &[], &[]).unwrap(), read(EXAMPLE, &[], &[]).unwrap());
}

#[test]
fn rust_log_overrides_the_log_level_of_the_file() {
    let level = |variables: &[(&str, &str)]| read("log_level: debug", variables, &[]).unwrap().log_level;
    assert_eq!(level(&[]), Some(LogLevel::Debug));
    assert_eq!(level(&[("RUST_LOG", "")]), Some(LogLevel::Debug));
    assert_eq!(level(&[("RUST_LOG", "warn")]), None, "RUST_LOG sets the level");
    assert_eq!(level(&[("RUST_LOG", "warn"), ("P2P_LOG_LEVEL", "trace")]), Some(LogLevel::Trace));
    assert_eq!(read("log_format: json", &[], &[]).unwrap().log_format, LogFormat::Json);
    let given = read("", &[("RUST_LOG", "warn")], &[("log_level", "error"), ("log_format", "text")]).unwrap();
    assert_eq!((given.log_level, given.log_format), (Some(LogLevel::Error), LogFormat::Text));
}

#[test]
fn a_metrics_port_without_a_host_is_on_loopback() {
    for (text, addr) in [
        ("9100", "127.0.0.1:9100"),
        (":9100", "127.0.0.1:9100"),
        ("0.0.0.0:9100", "0.0.0.0:9100"),
        ("[::1]:0", "[::1]:0"),
        ("localhost:9100", "localhost:9100"),
    ] {
        let settings = read("", &[("P2P_METRICS_ADDR", text)], &[]).unwrap();
        assert_eq!(settings.metrics_addr.as_deref(), Some(addr));
    }
}

#[test]
fn a_mesh_port_without_a_host_is_on_all_addresses() {
    for (text, addr) in [
        (":9321", "0.0.0.0:9321"),
        (":0", "0.0.0.0:0"),
        ("localhost:9321", "localhost:9321"),
        ("[::]:9321", "[::]:9321"),
    ] {
        assert_eq!(read(&format!("listen_addr: \"{text}\""), &[], &[]).unwrap().listen_addr, addr);
    }
    for bad in [":", ":x", ":65536", "9321"] {
        assert!(read("", &[], &[("listen_addr", bad)]).is_err(), "{bad}");
    }
}

#[test]
fn a_log_level_may_have_any_case() {
    for (text, level) in [
        ("WARN", LogLevel::Warn),
        ("Info", LogLevel::Info),
        ("warning", LogLevel::Warn),
        ("dEbUg", LogLevel::Debug),
        ("error", LogLevel::Error),
    ] {
        assert_eq!(read(&format!("log_level: {text}"), &[], &[]).unwrap().log_level, Some(level), "{text}");
    }
    assert!(read("log_level: warnings", &[], &[]).is_err());
}

#[test]
fn an_unknown_key_of_the_other_programs_is_a_warning_and_any_other_is_an_error() {
    let warnings = |file: &str| load(Some(("c.yaml", file)), &|_| None, &[]).map(|config| config.warnings);
    for (file, warning) in [
        (
            "# theirs\nreconnect_max_delay: 5m",
            r#"c.yaml:2: there is no setting "reconnect_max_delay", so it has no effect"#,
        ),
        (
            "max_conections: 5",
            r#"c.yaml:1: there is no setting "max_conections", so it has no effect; did you mean max_connections?"#,
        ),
        (
            "listenAddr: ':1'",
            r#"c.yaml:1: there is no setting "listenAddr", so it has no effect; did you mean listen_addr?"#,
        ),
        (
            "message: {size: [1, 2]}",
            r#"c.yaml:1: there is no setting "message", so it has no effect; did you mean message_buffer_size?"#,
        ),
    ] {
        assert_eq!(warnings(file).unwrap(), [warning], "{file}");
    }
    for file in ["histroy_size: 5", "lan_address: 1.2.3.4", "metrics: 9100", "colour: red", "maximum: 5"] {
        assert!(warnings(file).is_err(), "{file}");
    }
    assert_eq!(warnings(EXAMPLE).unwrap(), Vec::<String>::new());
    let both = warnings("log_file: x\ncolour: red").unwrap_err().to_string();
    assert!(both.starts_with(r#"c.yaml:2: there is no setting "colour""#), "{both}");
}

#[test]
fn durations_need_units() {
    for (text, ms) in [("500ms", 500), ("5s", 5_000), ("1m30s", 90_000), ("2.5s", 2_500), ("24h", 86_400_000)] {
        assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
    }
    for bad in ["", "5", "s", "5x", "-5s", "5 s", "25h", "1e9s"] {
        assert_eq!(parse_duration(bad), None, "{bad:?}");
    }
}
