//! What a peer is told: defaults < file < environment < flags. Checked once; each error names where the value stands.

mod layers;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::nickname::Nickname;
use layers::{FILE, KEYS, Layers, parse};
use rollcall_core::Password;

pub use layers::{Layer, SettingsError, variables};

/// A peer's settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// What the peer is called.
    pub name: Nickname,
    /// Where it listens for the mesh; port 0 takes any that is free.
    pub listen_addr: String,
    /// Peers that are dialled for ever.
    pub peers: Vec<Endpoint>,
    /// Base URLs of nodes of the registry.
    pub registry: Vec<String>,
    /// The password of its name there. Not a setting of the file or the environment of a peer: whoever reads the command line
    /// adds it.
    pub password: Option<Password>,
    /// Whether it takes part in the LAN.
    pub lan: bool,
    /// Where it tells the LAN what is for all, such as the broadcast address of one network; empty: on every network.
    pub lan_addresses: Vec<Ipv4Addr>,
    /// The most peers of the mesh at once, whoever dialled.
    pub max_connections: usize,
    /// For connecting, and then for the greeting.
    pub connect_timeout: Duration,
    /// Between two heartbeats.
    pub heartbeat_interval: Duration,
    /// How late one may be.
    pub heartbeat_timeout: Duration,
    /// For how many messages of the greatest length (64 KiB) each link's queue has room.
    pub message_buffer_size: usize,
    /// How many runs of numbers are remembered of each sender, so at least as many messages.
    pub dedup_cache_size: usize,
    /// How many messages are kept of each sender.
    pub history_size: usize,
    /// Where identity and history are kept; `None`: in memory.
    pub dir: Option<PathBuf>,
    /// Where it serves its health and its metrics, `host:port`; port 0 takes any that is free.
    pub metrics_addr: Option<String>,
    /// How much is logged; `None`: as `RUST_LOG` says, else as whoever starts the log thinks fit.
    pub log_level: Option<LogLevel>,
    /// In which form.
    pub log_format: LogFormat,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the levels have their usual names")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: each line is an object.
    Json,
}

impl Settings {
    /// Reads the file, if one is named, and the environment, and puts the flags on top.
    ///
    /// # Errors
    /// [`SettingsError`]: one line for the person.
    pub fn read(
        file: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<String>,
        flags: Layer,
    ) -> Result<Self, SettingsError> {
        let mut layers = vec![flags];
        let set = KEYS.iter().filter_map(|key| {
            // An empty variable counts as unset, as everywhere in this program.
            Some((key.name, variable(key.variable).filter(|text| !text.is_empty())?))
        });
        layers.push(Layer { place: "environment: ".into(), values: set.collect() });
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|cause| SettingsError::Unreadable { path: path.to_owned(), cause })?;
            layers.push(Layer { place: format!("{}: ", path.display()), values: parse(path, &text)? });
        }
        Layers(layers).settings(variable)
    }
}

impl Layers {
    fn settings(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        const NAME: &str = "1 to 32 characters without spaces and @";
        const COUNT: &str = "a whole number from 1 to 1000000";
        const PERIOD: &str = "a time such as 500ms, 5s or 1m30s";
        let user = || variable("USER").and_then(|user| Nickname::parse(&user).ok());
        let anonymous = || Nickname::parse("peer").expect("the rule allows it");
        let period = |name, default| {
            let found = self.parsed(name, PERIOD, |text| parse_period(text).filter(|period| !period.is_zero()))?;
            Ok(found.unwrap_or(default))
        };
        let count = |name, default| {
            let is_count = |count: &usize| (1..=1_000_000).contains(count);
            Ok(self.parsed(name, COUNT, |text| text.parse().ok().filter(is_count))?.unwrap_or(default))
        };
        let name = self.parsed("name", NAME, |text| Nickname::parse(text).ok())?;
        let listen = self.parsed("listen_addr", "host:port", |text| is_listen(text).then(|| text.to_owned()))?;
        let is_url = |text: &&str| text.starts_with("http://") || text.starts_with("https://");
        let log_level = self.parsed("log_level", "error, warn, info, debug or trace", |text| {
            LogLevel::ALL.into_iter().find(|level| level.name() == text)
        })?;
        // It is of the environment, and that wins over the file.
        let is_rust_log_set = variable("RUST_LOG").is_some_and(|text| !text.is_empty());
        let is_of_file = self.0.iter().position(|layer| layer.has("log_level")) == Some(FILE);
        let log_level = log_level.filter(|_| !(is_of_file && is_rust_log_set));
        let log_format = self.parsed("log_format", "text or json", |text| match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        })?;
        Ok(Settings {
            name: name.or_else(user).unwrap_or_else(anonymous),
            listen_addr: listen.unwrap_or_else(|| "0.0.0.0:0".to_owned()),
            peers: self.list("peers", "a list of host:port", |text| Endpoint::parse(text).ok())?,
            registry: self.list("registry", "URLs such as http://127.0.0.1:3000", |text| {
                is_url(&text).then(|| text.trim_end_matches('/').to_owned())
            })?,
            password: None,
            lan: self.parsed("lan", "true or false", parse_switch)?.unwrap_or(true),
            lan_addresses: self
                .list("lan_addresses", "IPv4 addresses such as 192.168.1.255", |text| text.parse().ok())?,
            max_connections: count("max_connections", 50)?,
            connect_timeout: period("connect_timeout", Duration::from_secs(10))?,
            heartbeat_interval: period("heartbeat_interval", Duration::from_secs(30))?,
            heartbeat_timeout: period("heartbeat_timeout", Duration::from_secs(5))?,
            message_buffer_size: count("message_buffer_size", 16)?,
            dedup_cache_size: count("dedup_cache_size", 100)?,
            history_size: count("history_size", 100)?,
            dir: self.parsed("dir", "a directory", |text| (!text.is_empty()).then(|| PathBuf::from(text)))?,
            metrics_addr: self.parsed("metrics_addr", "host:port, or a port of this machine alone", metrics_addr)?,
            log_level,
            log_format: log_format.unwrap_or_default(),
        })
    }
}

/// Also as YAML may have it.
fn parse_switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn is_listen(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && u16::from_str(port).is_ok())
}

/// A port without a host is this machine's alone: whoever wants others to read how a peer is has to say so.
fn metrics_addr(text: &str) -> Option<String> {
    match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        Ok(port) => Some(format!("127.0.0.1:{port}")),
        Err(_) => is_listen(text).then(|| text.to_owned()),
    }
}

/// `1h`, `1m30s`, `2.5s`, `500ms`: numbers with units, one after another.
fn parse_period(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[unit_end..];
        total = total.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
    }
    // Longer waits than a day are mistakes, and would overflow elsewhere.
    (total <= Duration::from_hours(24)).then_some(total)
}

#[cfg(test)]
mod tests {
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

    fn read(file: &str, variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Settings, SettingsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, file).unwrap();
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let values = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Settings::read(Some(&path), &variable, Layer { place: "--".into(), values })
    }

    #[test]
    fn the_documented_file_is_read_as_yaml_and_as_json() {
        let settings = read(EXAMPLE, &[], &[]).unwrap();
        assert_eq!(settings.listen_addr, "localhost:8080");
        assert_eq!(settings.peers.len(), 2);
        assert_eq!((settings.max_connections, settings.message_buffer_size, settings.dedup_cache_size), (50, 16, 100));
        assert_eq!(settings.connect_timeout, Duration::from_secs(10));
        let json = r#"{"listen_addr":"localhost:8080","peers":["localhost:8081","localhost:8082"],"connect_timeout":"10s","log_level":"info"}"#;
        assert_eq!(read(json, &[], &[]).unwrap(), settings, "and all others are the defaults");
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_that_over_the_file() {
        let variables = [("P2P_PEERS", "a:1, b:2"), ("P2P_MAX_CONNECTIONS", "7"), ("P2P_LISTEN_ADDR", "")];
        let settings = read(EXAMPLE, &variables, &[("max_connections", "9")]).unwrap();
        assert_eq!((settings.max_connections, settings.peers[1].to_string()), (9, "b:2".to_owned()));
        assert_eq!(settings.listen_addr, "localhost:8080", "an empty variable counts as unset");
    }

    #[test]
    fn an_error_names_the_place_the_value_and_what_is_right() {
        let error = read(EXAMPLE, &[("P2P_HEARTBEAT_INTERVAL", "soon")], &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            r#"environment: heartbeat_interval is "soon", but must be a time such as 500ms, 5s or 1m30s"#
        );
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
    fn what_cannot_be_read_is_refused_also_where_something_else_wins() {
        let said = |file, variables: &[(&str, &str)], flags: &[(&'static str, &str)]| {
            read(file, variables, flags).unwrap_err().to_string()
        };
        assert_eq!(
            said("", &[("P2P_LAN", "maybe")], &[("lan", "false")]),
            r#"environment: lan is "maybe", but must be true or false"#
        );
        let error = said("connect_timeout: soon", &[("P2P_CONNECT_TIMEOUT", "5s")], &[("connect_timeout", "6s")]);
        assert!(error.contains(r#"config.yaml: connect_timeout is "soon""#), "{error}");
        let error = said("log_level: loud", &[("RUST_LOG", "warn")], &[]);
        assert!(error.contains(r#"config.yaml: log_level is "loud""#), "{error}");
    }

    #[test]
    fn a_directory_has_a_name_and_an_empty_variable_is_none() {
        assert_eq!(read("", &[], &[("dir", "")]).unwrap_err().to_string(), r#"--dir is "", but must be a directory"#);
        assert!(read("dir: ' '", &[], &[]).is_err());
        assert_eq!(read("", &[("P2P_DIR", "")], &[]).unwrap().dir, None);
    }

    #[test]
    fn an_error_of_the_file_is_one_line_with_the_file_the_key_and_what_is_right() {
        for (file, said) in [
            ("lan: maybe", r#"lan is "maybe", but must be true or false"#),
            ("max_connections: many", r#"max_connections is "many", but must be a whole number from 1 to 1000000"#),
            ("history_size: -1", r#"history_size is "-1", but must be a whole number from 1 to 1000000"#),
            ("connect_timeout: 10", r#"connect_timeout is "10", but must be a time such as 500ms, 5s or 1m30s"#),
            ("lan_addresses: here", r#"lan_addresses is "here", but must be IPv4 addresses such as 192.168.1.255"#),
            ("name: [al, bo]", "name: expected string scalar at line 1, column 7"),
            ("peers: {a: 1}", "peers: invalid type: map, expected a list of texts at line 1, column 8"),
            ("name: al\nname: bo", "duplicate mapping key `name` is not allowed here at line 2, column 1"),
            ("hello", "expected mapping start at line 1, column 1"),
            ("name: \"al", "name: unclosed quote at line 1, column 7"),
        ] {
            let error = read(file, &[], &[]).unwrap_err().to_string();
            assert_eq!(error.split_once("config.yaml: ").expect("the file").1, said, "{file}");
        }
        let error = read("heartbeat: 5s\n", &[], &[]).unwrap_err().to_string();
        let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        let said = format!(r#"config.yaml: there is no setting "heartbeat"; there are {}"#, names.join(", "));
        assert!(error.ends_with(&said), "{error}");
    }

    #[test]
    fn a_value_of_the_file_is_the_text_that_stands_there() {
        let settings =
            read("name: 007\nlan: No\npeers: a:1\nregistry: [http://a, http://b/]\ndir: ~\n", &[], &[]).unwrap();
        assert_eq!((settings.name.as_str(), settings.lan, settings.dir), ("007", false, None));
        assert_eq!((settings.peers.len(), settings.registry), (1, vec!["http://a".to_owned(), "http://b".to_owned()]));
    }

    #[test]
    fn the_sample_file_has_the_documented_values() {
        let sample = include_str!("../../../example-config.yaml");
        assert_eq!(read(sample, &[], &[]).unwrap(), read(EXAMPLE, &[], &[]).unwrap());
    }

    #[test]
    fn the_log_is_as_the_file_says_unless_rust_log_is_set() {
        let level = |variables: &[(&str, &str)]| read("log_level: debug", variables, &[]).unwrap().log_level;
        assert_eq!(level(&[]), Some(LogLevel::Debug));
        assert_eq!(level(&[("RUST_LOG", "")]), Some(LogLevel::Debug));
        assert_eq!(level(&[("RUST_LOG", "warn")]), None, "which is left to RUST_LOG");
        assert_eq!(level(&[("RUST_LOG", "warn"), ("P2P_LOG_LEVEL", "trace")]), Some(LogLevel::Trace));
        assert_eq!(read("log_format: json", &[], &[]).unwrap().log_format, LogFormat::Json);
        let given = read("", &[("RUST_LOG", "warn")], &[("log_level", "error"), ("log_format", "text")]).unwrap();
        assert_eq!((given.log_level, given.log_format), (Some(LogLevel::Error), LogFormat::Text));
    }

    #[test]
    fn metrics_are_this_machines_alone_unless_a_host_is_given() {
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
    fn times_are_written_with_units() {
        for (text, ms) in [("500ms", 500), ("5s", 5_000), ("1m30s", 90_000), ("2.5s", 2_500), ("24h", 86_400_000)] {
            assert_eq!(parse_period(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "5", "s", "5x", "-5s", "5 s", "25h", "1e9s"] {
            assert_eq!(parse_period(bad), None, "{bad:?}");
        }
    }
}
