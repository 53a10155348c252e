//! Test support: registries on in-memory stores, and sample values.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{Caller, Quotas, RegisterRequest, Registry, RegistrySettings, TokenKey};
use crate::storage::{Backend, Bucket, LocalBackend, MemoryBackend, RetryPolicy};
use rollcall_core::{BootMs, Metadata, Username, WallMs};

/// Wall-clock time of the tests.
pub(super) fn wall() -> WallMs {
    WallMs::new(1_733_511_234_567)
}

/// A registry that started at 0, and its in-memory store. Calls are not retried, so that each
/// injected fault is visible.
pub(super) fn registry() -> (Registry, MemoryBackend) {
    let memory = MemoryBackend::new();
    (registry_on(&memory), memory)
}

/// Another registry on the same store, like that of another node.
pub(super) fn registry_on(memory: &MemoryBackend) -> Registry {
    registry_with(Arc::new(memory.clone()))
}

/// A registry on a local directory.
pub(super) fn registry_in(dir: &std::path::Path) -> Registry {
    registry_with(Arc::new(LocalBackend::open(dir.to_path_buf(), "boot", LocalBackend::DEFAULT_PAGE_SIZE).unwrap()))
}

/// Like [`registry_on`], with quotas.
pub(super) fn registry_with_quotas(memory: &MemoryBackend, quotas: Quotas) -> Registry {
    registry_of(Arc::new(memory.clone()), RegistrySettings { quotas, ..settings() })
}

fn registry_with(backend: Arc<dyn Backend>) -> Registry {
    registry_of(backend, settings())
}

fn registry_of(backend: Arc<dyn Backend>, settings: RegistrySettings) -> Registry {
    let policy = RetryPolicy::one_attempt(Duration::from_secs(20));
    Registry::new(Bucket::new(backend, policy), settings, &TokenKey::new([7; 32]), BootMs(0), wall())
}

/// The registry of one of several nodes, started at `now`.
pub(crate) fn replicated(now: BootMs) -> Registry {
    let bucket = Bucket::new(Arc::new(MemoryBackend::new()), RetryPolicy::default());
    Registry::new(bucket, RegistrySettings { replicated: true, ..settings() }, &TokenKey::new([7; 32]), now, wall())
}

/// Settings of a single node, with tokens valid for an hour.
pub(crate) fn settings() -> RegistrySettings {
    RegistrySettings {
        ttl_ms: 30_000,
        replicated: false,
        require_password: false,
        token_seconds: 3600,
        heartbeats_need_no_credentials: false,
        quotas: Quotas::default(),
        node: "127.0.0.1:8080".parse().unwrap(),
    }
}

/// The caller of a request that is received at `now`, always from the same address.
pub(crate) fn caller(now: BootMs) -> Caller<'static> {
    Caller { from: [10, 0, 0, 9].into(), now, wall: wall(), connection: None }
}

pub(super) fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

/// A registration with only a name.
pub(super) fn user(username: &str) -> RegisterRequest {
    RegisterRequest { username: name(username), addr: None, password: None, metadata: Metadata::default() }
}

/// An encoded image of one colour.
pub(crate) fn encoded_image(format: image::ImageFormat, width: u32, height: u32) -> Bytes {
    let mut bytes = Cursor::new(Vec::new());
    let pixels = image::RgbImage::from_pixel(width, height, image::Rgb([1, 2, 3]));
    image::DynamicImage::from(pixels).write_to(&mut bytes, format).unwrap();
    bytes.into_inner().into()
}

/// A PNG chunk.
pub(crate) fn png_chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [&name[..], data].concat();
    let crc = !named.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    let length = u32::try_from(data.len()).unwrap();
    [&length.to_be_bytes()[..], &named, &crc.to_be_bytes()].concat()
}

/// A PNG with additional chunks after IHDR.
pub(crate) fn png_with(chunks: &[u8]) -> Vec<u8> {
    let plain = encoded_image(image::ImageFormat::Png, 8, 8);
    // The signature has 8 bytes and IHDR has 25.
    let (head, rest) = plain.split_at(33);
    [head, chunks, rest].concat()
}

/// Hexadecimal form of bytes, as in golden bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

/// The bytes of a hexadecimal text.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.as_bytes().chunks(2).map(byte).collect()
}

/// Postcard tags of an enum, in order: the first byte of each variant. Zeros must be valid for the
/// remaining fields of every variant.
pub(crate) fn tags<T: DeserializeOwned>() -> Vec<u8> {
    let is_tag = |tag: &u8| postcard::from_bytes::<T>(&[&[*tag][..], &[0; 64]].concat()).is_ok();
    // Greater tags take more than one byte.
    (0..0x80).filter(is_tag).collect()
}
