//! Settings of a chat peer. Flags override the environment, which overrides the file (YAML), which overrides the defaults.
//! An invalid value is an error even if it is overridden, because its author expects it to apply.

pub(super) mod keys;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rollcall_chat::settings::{LogFormat, LogLevel, PeerSettings};
use rollcall_chat::{Nickname, PeerEndpoint};

pub use keys::variables;

use super::error::ConfigError;
use super::keys::Key;
use super::layers::{Check, Layer, Layers, command_line, environment};
use super::origin::Origin;
use super::yaml_file;

const NAME_RULE: &str = "1 to 32 characters without spaces and @";
const COUNT_RULE: &str = "a whole number from 1 to 1000000";
const PERIOD_RULE: &str = "a time such as 500ms, 5s or 1m30s";

/// Reads the file, if one is given, and loads the settings. `flags` are pairs of setting name and value.
///
/// # Errors
/// [`ConfigError`], the first one found.
pub fn read(
    file: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<String>,
    flags: &[(&'static str, String)],
) -> Result<PeerSettings, ConfigError> {
    let Some(path) = file else { return load(None, variable, flags) };
    let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
        path: path.to_owned(),
        remedy: "",
        cause,
    })?;
    load(Some((&path.display().to_string(), &text)), variable, flags)
}

/// Merges and checks the settings. `file` is the name and the content of the configuration file. `variable` returns the
/// value of an environment variable. `flags` are pairs of setting name and value.
///
/// # Errors
/// [`ConfigError`], the first one found.
pub fn load(
    file: Option<(&str, &str)>,
    variable: &dyn Fn(&str) -> Option<String>,
    flags: &[(&'static str, String)],
) -> Result<PeerSettings, ConfigError> {
    let flags = flags.iter().map(|(name, text)| (*name, text.clone(), Origin::CommandLine));
    let environment = environment(&keys::ALL, variable, |_| Origin::Environment);
    let file = file.map_or(Ok(Layer::new()), |(name, text)| yaml_file::parse(&keys::ALL, name, text))?;
    settings(&Layers::new(Check::All, command_line(flags), environment, file), variable)
}

fn settings(layers: &Layers, variable: &dyn Fn(&str) -> Option<String>) -> Result<PeerSettings, ConfigError> {
    let user = || variable("USER").and_then(|user| Nickname::parse(&user).ok());
    let anonymous = || Nickname::parse("peer").expect("the rule allows it");
    let name = parsed(layers, &keys::NAME, NAME_RULE, |text| Nickname::parse(text).ok())?;
    let listen =
        parsed(layers, &keys::LISTEN_ADDR, "host:port", |text| is_host_and_port(text).then(|| text.to_owned()))?;
    let log_format = parsed(layers, &keys::LOG_FORMAT, "text or json", |text| match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    })?;
    Ok(PeerSettings {
        name: name.or_else(user).unwrap_or_else(anonymous),
        listen_addr: listen.unwrap_or_else(|| "0.0.0.0:0".to_owned()),
        peers: layers.list_by(&keys::PEERS, "a list of host:port", |text| PeerEndpoint::parse(text).ok())?,
        registry: layers.list_by(&keys::REGISTRY, "URLs such as http://127.0.0.1:3000", base_url)?,
        password: None,
        lan: parsed(layers, &keys::LAN, "true or false", parse_bool)?.unwrap_or(true),
        lan_addresses: layers
            .list_by(&keys::LAN_ADDRESSES, "IPv4 addresses such as 192.168.1.255", |text| text.parse().ok())?,
        max_connections: count(layers, &keys::MAX_CONNECTIONS, 50)?,
        connect_timeout: period(layers, &keys::CONNECT_TIMEOUT, Duration::from_secs(10))?,
        heartbeat_interval: period(layers, &keys::HEARTBEAT_INTERVAL, Duration::from_secs(30))?,
        heartbeat_timeout: period(layers, &keys::HEARTBEAT_TIMEOUT, Duration::from_secs(5))?,
        message_buffer_size: count(layers, &keys::MESSAGE_BUFFER_SIZE, 16)?,
        dedup_cache_size: count(layers, &keys::DEDUP_CACHE_SIZE, 100)?,
        history_size: count(layers, &keys::HISTORY_SIZE, 100)?,
        dir: parsed(layers, &keys::DIR, "a directory", |text| (!text.is_empty()).then(|| PathBuf::from(text)))?,
        metrics_addr: parsed(layers, &keys::METRICS_ADDR, "host:port, or a port of this machine alone", metrics_addr)?,
        log_level: log_level(layers, variable)?,
        log_format: log_format.unwrap_or_default(),
    })
}

/// Reads a setting with the parser `parse`. White space around the value is ignored. `rule` describes valid values.
fn parsed<T>(
    layers: &Layers,
    key: &Key,
    rule: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ConfigError> {
    Ok(layers.parsed_by(key, rule, |text| parse(text.trim()))?.map(|given| given.value))
}

/// Reads a number from 1 to 1,000,000.
fn count(layers: &Layers, key: &Key, default: usize) -> Result<usize, ConfigError> {
    let is_count = |count: &usize| (1..=1_000_000).contains(count);
    let found = parsed(layers, key, COUNT_RULE, |text| text.parse().ok().filter(is_count))?;
    Ok(found.unwrap_or(default))
}

/// Reads a duration above 0.
fn period(layers: &Layers, key: &Key, default: Duration) -> Result<Duration, ConfigError> {
    let found = parsed(layers, key, PERIOD_RULE, |text| parse_period(text).filter(|period| !period.is_zero()))?;
    Ok(found.unwrap_or(default))
}

/// Log level. A level in the file is ignored if `RUST_LOG` is set, because the environment overrides the file.
fn log_level(layers: &Layers, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<LogLevel>, ConfigError> {
    let parse = |text: &str| LogLevel::ALL.into_iter().find(|level| level.name() == text.trim());
    let found = layers.parsed_by(&keys::LOG_LEVEL, "error, warn, info, debug or trace", parse)?;
    let is_rust_log_set = variable("RUST_LOG").is_some_and(|text| !text.is_empty());
    let effective = found.filter(|given| !(is_rust_log_set && matches!(given.origin, Origin::File { .. })));
    Ok(effective.map(|given| given.value))
}

fn base_url(text: &str) -> Option<String> {
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    is_url.then(|| text.trim_end_matches('/').to_owned())
}

/// Parses a boolean in all spellings of YAML.
fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && u16::from_str(port).is_ok())
}

/// Parses the metrics address. A port without a host means 127.0.0.1, so that the metrics are public only on request.
fn metrics_addr(text: &str) -> Option<String> {
    match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        Ok(port) => Some(format!("127.0.0.1:{port}")),
        Err(_) => is_host_and_port(text).then(|| text.to_owned()),
    }
}

/// Parses a duration such as `1h`, `1m30s`, `2.5s` or `500ms`: numbers with units, added up.
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
    // More than a day is a mistake, and would overflow timers.
    (total <= Duration::from_hours(24)).then_some(total)
}

#[cfg(test)]
mod tests;
