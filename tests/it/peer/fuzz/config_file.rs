//! Fuzzing of the configuration file. Any content gives a valid configuration, or an error of one
//! line.

use rand::RngExt;
use rand::rngs::SmallRng;
use rollcall::config;

use super::FuzzCounts;
use super::mutations::mutate;

const SAMPLES: [&str; 4] = [
    "listen_addr: \"localhost:8080\"\npeers: [\"localhost:8081\", \"localhost:8082\"]\nmax_connections: 50\nconnect_timeout: \"10s\"\nheartbeat_interval: \"30s\"\nheartbeat_timeout: \"5s\"\nmessage_buffer_size: 16\ndedup_cache_size: 100\nlog_level: \"info\"\nlog_format: \"text\"\n",
    r#"{"listen_addr":"localhost:8080","peers":["localhost:8081"],"connect_timeout":"1m30s","lan":false,"name":"al"}"#,
    "registry: http://127.0.0.1:3000\nname: |\n  al\n",
    "peers: &a [\"x:1\", \"y:2\"]\nregistry: *a\n# a comment\n",
];
/// Largest length of an error, in bytes. An error quotes only a part of the file.
const MAX_ERROR: usize = 2_000;

pub(super) fn round(rng: &mut SmallRng, counts: &mut FuzzCounts) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("config.yaml");
    let samples: Vec<Vec<u8>> = SAMPLES.iter().map(|text| text.as_bytes().to_vec()).collect();
    let mut bytes = samples[rng.random_range(0..samples.len())].clone();
    mutate(&mut bytes, &samples, rng);
    std::fs::write(&path, &bytes).expect("a writable file");
    let read = config::chat::read(Some(&path), &|_| None, &[]);
    counts.add(read.is_ok());
    if let Err(error) = read {
        let line = error.to_string();
        assert!(!line.contains('\n') && line.len() < MAX_ERROR, "{line:?}");
    }
}
