//! Settings of a chat peer. Flags override the environment, which overrides the file (YAML), which
//! overrides the defaults. An invalid value is an error even if it is overridden, because the
//! user who wrote it expects it to apply.

pub(super) mod settings;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rollcall_chat::settings::{LogFormat, LogLevel, PeerSettings};
use rollcall_chat::{Nickname, PeerEndpoint};

pub use settings::{SETTINGS, env_vars};

use settings::is_foreign_key;

use super::error::ConfigError;
use super::layers::{Layer, Layers, ValidationScope, command_line, environment, with_default};
use super::origin::Origin;
use super::setting::Setting;
use super::yaml_file;

// Descriptions of valid values, for errors.
const NAME_RULE: &str = "1 to 32 characters without spaces and @";
const COUNT_RULE: &str = "a whole number from 1 to 1000000";
const DURATION_RULE: &str = "a time such as 500ms, 5s or 1m30s";

/// Settings of a chat peer, and the warnings about its file.
#[derive(Debug)]
pub struct ChatConfig {
    /// The settings.
    pub settings: PeerSettings,
    /// Keys of the file that have no effect, one line each.
    pub warnings: Vec<String>,
}

/// Reads the file, if one is given, and loads the settings. `flags` are pairs of setting key and
/// value.
///
/// # Errors
/// [`ConfigError`], the first one found.
pub fn read(
    file: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
    flags: &[(&'static str, String)],
) -> Result<ChatConfig, ConfigError> {
    let Some(path) = file else { return load(None, env, flags) };
    let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
        path: path.to_owned(),
        remedy: "",
        cause,
    })?;
    load(Some((&path.display().to_string(), &text)), env, flags)
}

/// Merges and checks the settings. `file` is the name and the content of the configuration file.
/// `env` returns the value of an environment variable. `flags` are pairs of setting key and value.
///
/// # Errors
/// [`ConfigError`], the first one found.
pub fn load(
    file: Option<(&str, &str)>,
    env: &dyn Fn(&str) -> Option<String>,
    flags: &[(&'static str, String)],
) -> Result<ChatConfig, ConfigError> {
    let flags = flags.iter().map(|(name, text)| (*name, text.clone(), Origin::CommandLine));
    let environment = environment(&SETTINGS, env, |_| Origin::Environment);
    let parsed = file.map(|(name, text)| yaml_file::parse(&SETTINGS, is_foreign_key, name, text));
    let (file, unknown_keys) = parsed.unwrap_or_else(|| Ok((Layer::new(), Vec::new())))?;
    let settings = build(&Layers::new(&SETTINGS, ValidationScope::All, command_line(flags), environment, file), env)?;
    Ok(ChatConfig { settings, warnings: unknown_keys.into_iter().map(|unknown| unknown.to_string()).collect() })
}

fn build(layers: &Layers, env: &dyn Fn(&str) -> Option<String>) -> Result<PeerSettings, ConfigError> {
    let user = || env("USER").and_then(|user| Nickname::parse(&user).ok());
    let anonymous = || Nickname::parse("peer").expect("the rule allows it");
    let name = parsed(layers, &settings::NAME, NAME_RULE, |text| Nickname::parse(text).ok())?;
    let listen_addr = parsed_with_default(layers, &settings::LISTEN_ADDR, "host:port or :port", parse_listen_addr)?;
    let log_format = parsed_with_default(layers, &settings::LOG_FORMAT, "text or json", |text| match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    })?;
    Ok(PeerSettings {
        name: name.or_else(user).unwrap_or_else(anonymous),
        listen_addr,
        peers: layers.list_by(&settings::PEERS, "a list of host:port", |text| PeerEndpoint::parse(text).ok())?,
        registry: layers.list_by(&settings::REGISTRY, "URLs such as http://127.0.0.1:3000", parse_base_url)?,
        registry_ca: parsed(layers, &settings::REGISTRY_CA, "a path", |text| {
            (!text.is_empty()).then(|| PathBuf::from(text))
        })?,
        password: None,
        lan: parsed_with_default(layers, &settings::LAN, "true or false", parse_bool)?,
        lan_addresses: layers
            .list_by(&settings::LAN_ADDRESSES, "IPv4 addresses such as 192.168.1.255", |text| text.parse().ok())?,
        max_connections: count(layers, &settings::MAX_CONNECTIONS)?,
        connect_timeout: duration(layers, &settings::CONNECT_TIMEOUT)?,
        heartbeat_interval: duration(layers, &settings::HEARTBEAT_INTERVAL)?,
        heartbeat_timeout: duration(layers, &settings::HEARTBEAT_TIMEOUT)?,
        message_buffer_size: count(layers, &settings::MESSAGE_BUFFER_SIZE)?,
        dedup_cache_size: count(layers, &settings::DEDUP_CACHE_SIZE)?,
        history_size: count(layers, &settings::HISTORY_SIZE)?,
        dir: parsed(layers, &settings::DIR, "a directory", |text| (!text.is_empty()).then(|| PathBuf::from(text)))?,
        metrics_addr: parsed(
            layers,
            &settings::METRICS_ADDR,
            "host:port, or a port of this machine alone",
            parse_metrics_addr,
        )?,
        log_level: log_level(layers, env)?,
        log_format,
    })
}

/// Reads a setting with the parser `parse`. White space around the value is ignored. `expected`
/// describes valid values.
fn parsed<T>(
    layers: &Layers,
    setting: &Setting,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ConfigError> {
    Ok(layers.parsed_by(setting, expected, |text| parse(text.trim()))?.map(|given| given.value))
}

/// Reads a setting as [`parsed`] does. The setting has a default, so there is always a value.
fn parsed_with_default<T>(
    layers: &Layers,
    setting: &Setting,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, ConfigError> {
    Ok(with_default(layers.parsed_by(setting, expected, |text| parse(text.trim()))?).value)
}

/// Reads a number from 1 to 1,000,000.
fn count(layers: &Layers, setting: &Setting) -> Result<usize, ConfigError> {
    let is_count = |count: &usize| (1..=1_000_000).contains(count);
    parsed_with_default(layers, setting, COUNT_RULE, |text| text.parse().ok().filter(is_count))
}

/// Reads a duration above 0.
fn duration(layers: &Layers, setting: &Setting) -> Result<Duration, ConfigError> {
    let parse = |text: &str| parse_duration(text).filter(|duration| !duration.is_zero());
    parsed_with_default(layers, setting, DURATION_RULE, parse)
}

/// Reads the log level. A level in the file is ignored if `RUST_LOG` is set, because the
/// environment overrides the file.
fn log_level(layers: &Layers, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<LogLevel>, ConfigError> {
    let expected = "error, warn, info, debug or trace";
    let found = layers.parsed_by(&settings::LOG_LEVEL, expected, |text| parse_log_level(text.trim()))?;
    let is_rust_log_set = env("RUST_LOG").is_some_and(|text| !text.is_empty());
    let effective = found.filter(|given| !(is_rust_log_set && matches!(given.origin, Origin::File { .. })));
    Ok(effective.map(|given| given.value))
}

/// Parses a log level in any case of letters, as programs of requirement 003 do.
fn parse_log_level(text: &str) -> Option<LogLevel> {
    let text = text.to_ascii_lowercase();
    let name = if text == "warning" { "warn" } else { text.as_str() };
    LogLevel::ALL.into_iter().find(|level| level.name() == name)
}

/// Parses the address of the mesh. A port without a host means all addresses of this machine, as in
/// programs of requirement 003.
fn parse_listen_addr(text: &str) -> Option<String> {
    match text.strip_prefix(':').map(u16::from_str) {
        Some(Ok(port)) => Some(format!("0.0.0.0:{port}")),
        _ => is_host_and_port(text).then(|| text.to_owned()),
    }
}

fn parse_base_url(text: &str) -> Option<String> {
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    is_url.then(|| text.trim_end_matches('/').to_owned())
}

/// Parses a boolean: `true`, `yes`, `on`, `false`, `no` or `off`, in any case of letters.
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

/// Parses the metrics address. A port without a host means 127.0.0.1, so that the metrics are
/// public only on request.
fn parse_metrics_addr(text: &str) -> Option<String> {
    match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        Ok(port) => Some(format!("127.0.0.1:{port}")),
        Err(_) => is_host_and_port(text).then(|| text.to_owned()),
    }
}

/// Parses a duration such as `1h`, `1m30s`, `2.5s` or `500ms`: a sum of numbers with units.
fn parse_duration(text: &str) -> Option<Duration> {
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
    // More than a day is most likely a mistake.
    (total <= Duration::from_hours(24)).then_some(total)
}

#[cfg(test)]
mod tests;
