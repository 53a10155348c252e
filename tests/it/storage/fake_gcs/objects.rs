//! Objects of the fake, and the requests of the JSON API. This module knows no connections and no
//! faults.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Response};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde_json::{Value, json};

use super::BUCKET;

/// Largest number of entries on one page of Cloud Storage.
const MAX_PAGE: usize = 1000;

#[derive(Default)]
pub(super) struct Objects {
    pub(super) by_name: BTreeMap<String, Object>,
    writes: i64,
}

pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) media_type: String,
    generation: i64,
}

/// The query parameters of one request.
struct Query(BTreeMap<String, String>);

impl Query {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl Objects {
    pub(super) fn handle(
        &mut self,
        request: &http::request::Parts,
        body: &[u8],
        ignores_conditions: bool,
    ) -> Response<Bytes> {
        let url = Url::parse(&format!("http://fake{}", request.uri)).expect("hyper gives a valid path");
        let mut query = Query(url.query_pairs().into_owned().collect());
        if ignores_conditions {
            query.0.remove("ifGenerationMatch");
        }
        let bucket = format!("/storage/v1/b/{BUCKET}/o");
        let firebase = format!("/v0/b/{BUCKET}/o");
        let found = url.path().split_once(&bucket).or_else(|| url.path().split_once(&firebase));
        let Some((before, name)) = found else {
            return error(404, message(404));
        };
        let Ok(name) = percent_decode_str(name.trim_start_matches('/')).decode_utf8() else {
            return error(400, "the object's name is not UTF-8");
        };
        match (&request.method, before, name.as_ref()) {
            (&Method::POST, "/upload", "") => {
                let content_type = request.headers.get("content-type").and_then(|value| value.to_str().ok());
                self.upload(&query, content_type.unwrap_or_default(), body)
            }
            (&Method::GET, "", "") => self.list(&query),
            (&Method::GET, "", name) if query.get("alt") == "media" => self.read(name),
            (&Method::DELETE, "", name) => match self.by_name.remove(name) {
                Some(_) => respond(204, ""),
                None => no_such_object(name),
            },
            _ => error(501, "the fake does not know this request"),
        }
    }

    /// Appends a byte to every object, as a defect of the store would change it. Its generation
    /// stays.
    pub(super) fn damage_all(&mut self) {
        for object in self.by_name.values_mut() {
            object.bytes = [&object.bytes[..], b"x"].concat().into();
        }
    }

    fn upload(&mut self, query: &Query, content_type: &str, body: &[u8]) -> Response<Bytes> {
        let name = query.get("name");
        let Some((metadata, bytes)) = parts(content_type, body).filter(|_| query.get("uploadType") == "multipart")
        else {
            return error(400, "not a multipart upload");
        };
        if metadata["crc32c"].as_str() != Some(&crc32c_base64(&bytes)) {
            return error(400, "Provided CRC32C doesn't match calculated CRC32C.");
        }
        let current_generation = self.by_name.get(name).map_or(0, |object| object.generation);
        let expected = query.get("ifGenerationMatch");
        if !expected.is_empty() && expected != current_generation.to_string() {
            return error(412, message(412));
        }
        self.writes += 1;
        let generation = 1_700_000_000_000_000 + self.writes;
        let media_type = metadata["contentType"].as_str().unwrap_or("application/octet-stream").to_owned();
        let resource = json!({
            "kind": "storage#object", "bucket": BUCKET, "name": name, "contentType": media_type,
            "generation": generation.to_string(), "metageneration": "1", "size": bytes.len().to_string(),
            "crc32c": crc32c_base64(&bytes),
        });
        self.by_name.insert(name.to_owned(), Object { bytes, media_type, generation });
        respond(200, resource.to_string())
    }

    fn read(&self, name: &str) -> Response<Bytes> {
        let Some(object) = self.by_name.get(name) else { return no_such_object(name) };
        let mut response = respond(200, object.bytes.clone());
        let headers = response.headers_mut();
        headers.insert("content-type", object.media_type.parse().expect("the value was valid in a request"));
        headers.insert("x-goog-generation", object.generation.into());
        headers.insert("x-goog-metageneration", 1.into());
        let hash = format!("crc32c={}", crc32c_base64(&object.bytes));
        headers.insert("x-goog-hash", hash.parse().expect("base64"));
        response
    }

    /// Lists as Cloud Storage does: all objects below a further slash are one entry that ends with
    /// the slash, and entries are sorted by whole path.
    fn list(&self, query: &Query) -> Response<Bytes> {
        let (prefix, delimiter, token) = (query.get("prefix"), query.get("delimiter"), query.get("pageToken"));
        let limit = query.get("maxResults").parse().unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let mut entries: Vec<&str> = Vec::new();
        for name in self.by_name.keys().filter(|name| name.starts_with(prefix)) {
            let below = &name[prefix.len()..];
            let folder = below.find(delimiter).filter(|_| !delimiter.is_empty());
            entries.push(folder.map_or(name, |at| &name[..=prefix.len() + at]));
        }
        entries.dedup();
        entries.retain(|entry| *entry > token);
        let more = entries.len() > limit;
        entries.truncate(limit);
        let mut page = json!({});
        if query.get("fields").split(',').any(|field| field == "kind") {
            page["kind"] = json!("storage#objects");
        }
        if more {
            page["nextPageToken"] = json!(entries.last());
        }
        let (prefixes, items): (Vec<&str>, Vec<&str>) = entries.into_iter().partition(|entry| entry.ends_with('/'));
        // Cloud Storage leaves out empty lists.
        if !prefixes.is_empty() {
            page["prefixes"] = json!(prefixes);
        }
        if !items.is_empty() {
            // A size is a number as text.
            let item = |name: &str| json!({ "name": name, "size": self.by_name[name].bytes.len().to_string() });
            page["items"] = items.into_iter().map(item).collect();
        }
        respond(200, page.to_string())
    }
}

fn respond(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    let builder = Response::builder().status(status).header("content-type", "application/json");
    builder.body(body.into()).expect("a valid response")
}

pub(super) fn error(status: u16, message: &str) -> Response<Bytes> {
    let errors = json!([{ "domain": "global", "reason": reason(status), "message": message }]);
    respond(status, json!({ "error": { "code": status, "message": message, "errors": errors } }).to_string())
}

/// Cloud Storage answers reads in plain text and deletes in JSON. Both contain this text.
fn no_such_object(name: &str) -> Response<Bytes> {
    error(404, &format!("No such object: {BUCKET}/{name}"))
}

/// Reasons of Cloud Storage for its most frequent errors.
fn reason(status: u16) -> &'static str {
    match status {
        400 => "invalid",
        401 => "authError",
        403 => "forbidden",
        404 => "notFound",
        412 => "conditionNotMet",
        429 => "rateLimitExceeded",
        _ => "backendError",
    }
}

/// Error texts of Cloud Storage for its most frequent errors.
pub(super) fn message(status: u16) -> &'static str {
    match status {
        401 => "Invalid Credentials",
        403 => "the account does not have storage.objects.create access to the Google Cloud Storage object.",
        404 => "The specified bucket does not exist.",
        412 => "At least one of the pre-conditions you specified did not hold.",
        429 => "The object exceeded the rate limit for object mutation operations.",
        _ => "Backend Error",
    }
}

/// The first two parts of a multipart body: the metadata and the bytes.
fn parts(content_type: &str, body: &[u8]) -> Option<(Value, Bytes)> {
    let boundary = content_type.split("boundary=").nth(1)?.trim_matches('"');
    let (metadata, rest) = first_part(body, boundary)?;
    let (bytes, _) = first_part(rest, boundary)?;
    Some((serde_json::from_slice(metadata).ok()?, Bytes::copy_from_slice(bytes)))
}

/// The content of the first part, and the rest from the next boundary on.
fn first_part<'a>(body: &'a [u8], boundary: &str) -> Option<(&'a [u8], &'a [u8])> {
    let start = find(body, b"\r\n\r\n")? + 4;
    let end = start + find(&body[start..], format!("\r\n--{boundary}").as_bytes())?;
    Some((&body[start..end], &body[end..]))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The checksum that Google's crate verifies: CRC-32C (Castagnoli), big-endian, in base64.
fn crc32c_base64(bytes: &[u8]) -> String {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    STANDARD.encode((!crc).to_be_bytes())
}
