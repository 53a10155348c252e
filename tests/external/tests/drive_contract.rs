//! Every request that the store on Google Drive makes, held against Google's own description of the
//! API: path, parameters, body and the fields that are asked for.
//!
//! The descriptions are `drive.v3.json` and `drive.v2.json` of the Python package
//! `google-api-python-client`. `ROLLCALL_DRIVE_API` names the first, and the second is beside it;
//! else they are in `target/external/venv`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rollcall::storage::{Backend, DriveBackend, DriveConfig, Folder, Key};
use rollcall_core::{ImageKind, ImageName, Username};
use rollcall_test_support::drive_server::{DRIVE, DriveRequest, DriveServer, FOLDER};
use serde_json::{Map, Value};

const INSTALL: &str = "run: target/external/venv/bin/pip install --no-deps google-api-python-client==2.202.0";

/// The file in the environment of Python in which `.ci/run` installs the package.
fn installed() -> PathBuf {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/external/venv/lib");
    let pythons = std::fs::read_dir(&lib).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let file = "site-packages/googleapiclient/discovery_cache/documents/drive.v3.json";
    pythons.map(|python| python.join(file)).find(|file| file.exists()).unwrap_or_else(|| lib.join(file))
}

/// Google's description of one version of the API.
struct Description(Value);

impl Description {
    fn read(file: &str) -> Self {
        let path = std::env::var_os("ROLLCALL_DRIVE_API").map_or_else(installed, PathBuf::from).with_file_name(file);
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; {INSTALL}", path.display()));
        Self(serde_json::from_slice(&text).expect("it is JSON"))
    }

    /// Name and description of the call that a request makes.
    fn call(&self, request: &DriveRequest) -> (&str, &Value) {
        let calls = self.0["resources"]["files"]["methods"].as_object().expect("the calls of files");
        let is_upload = request.path.starts_with("/upload/");
        let matches = |call: &Value| {
            let pattern = if is_upload {
                call["mediaUpload"]["protocols"]["simple"]["path"].as_str().unwrap_or_default().to_owned()
            } else {
                format!("/{}{}", self.0["servicePath"].as_str().unwrap(), call["path"].as_str().unwrap())
            };
            call["httpMethod"] == request.method.as_str() && fits(&pattern, &request.path)
        };
        // A fixed path goes before one with a placeholder.
        let found = calls
            .iter()
            .filter(|(_, call)| matches(call))
            .min_by_key(|(_, call)| call["path"].as_str().unwrap().matches('{').count());
        let (name, call) = found.unwrap_or_else(|| panic!("no such call: {request:?}"));
        (name.as_str(), call)
    }

    fn schema(&self, reference: &Value) -> &Value {
        &self.0["schemas"][reference["$ref"].as_str().expect("a reference")]
    }

    fn check(&self, request: &DriveRequest) -> &str {
        let (name, call) = self.call(request);
        for (parameter, value) in &request.parameters {
            let described =
                [&call["parameters"][parameter], &self.0["parameters"][parameter]].into_iter().find(|p| p.is_object());
            let described = described.unwrap_or_else(|| panic!("{name} has no parameter {parameter}"));
            assert!(described["location"] == "query" && is_value(described, value), "{name}: {parameter}={value}");
        }
        let required = call["parameters"].as_object().expect("parameters");
        for (parameter, _) in required.iter().filter(|(_, p)| p["required"] == true && p["location"] == "query") {
            assert!(request.parameters.contains_key(parameter), "{name} needs {parameter}");
        }
        if let Some(metadata) = &request.metadata {
            Self::check_object(self.schema(&call["request"]), metadata, name);
            assert_eq!(call["mediaUpload"]["protocols"]["simple"]["multipart"], true);
        }
        if let Some(fields) = request.parameters.get("fields") {
            self.check_fields(self.schema(&call["response"]), fields, name);
        }
        name
    }

    /// Checks that an object has only fields of its schema, with values of their types.
    fn check_object(schema: &Value, object: &Map<String, Value>, place: &str) {
        for (field, value) in object {
            let described = &schema["properties"][field];
            let is_right = match described["type"].as_str() {
                Some("string") => value.is_string(),
                Some("boolean") => value.is_boolean(),
                Some("array") => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
                // A null removes a property.
                Some("object") => value.as_object().is_some_and(|o| o.values().all(|v| v.is_string() || v.is_null())),
                _ => false,
            };
            let text = described["description"].as_str().unwrap_or_default();
            assert!(is_right && !text.starts_with("Output only"), "{place}: {field} = {value}");
        }
    }

    /// Checks that the fields that a request asks for exist.
    fn check_fields(&self, schema: &Value, fields: &str, place: &str) {
        let mut rest = fields;
        while !rest.is_empty() {
            let end = rest.find([',', '(']).unwrap_or(rest.len());
            let (field, after) = rest.split_at(end);
            let described = &schema["properties"][field];
            assert!(described.is_object(), "{place}: there is no field {field:?}");
            rest = match after.strip_prefix('(') {
                Some(after) => {
                    let (inner, after) = after.split_once(')').expect("a closing parenthesis");
                    let inner_schema =
                        if described["items"].is_object() { self.schema(&described["items"]) } else { described };
                    self.check_fields(inner_schema, inner, place);
                    after
                }
                None => after,
            };
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
    }
}

/// Whether a path fits a pattern such as `/drive/v3/files/{fileId}`.
fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len() && pattern.iter().zip(path).all(|(part, text)| part.starts_with('{') || *part == text)
}

/// Whether the text is a value of a parameter.
fn is_value(parameter: &Value, text: &str) -> bool {
    let number = |name: &str| parameter[name].as_str().and_then(|limit| limit.parse::<i64>().ok());
    match parameter["type"].as_str() {
        Some("boolean") => matches!(text, "true" | "false"),
        Some("integer") => text.parse::<i64>().is_ok_and(|value| {
            number("minimum").is_none_or(|least| value >= least) && number("maximum").is_none_or(|most| value <= most)
        }),
        Some("string") => parameter["enum"].as_array().is_none_or(|values| values.iter().any(|value| value == text)),
        _ => false,
    }
}

/// Makes every kind of request.
async fn use_every_operation(server: &DriveServer) {
    let dir = tempfile::tempdir().unwrap();
    let config = DriveConfig {
        drive: DRIVE.to_owned(),
        folder: FOLDER.to_owned(),
        credentials: "none".into(),
        endpoint: Some(server.url()),
        table_dir: Some(dir.path().to_owned()),
        settle_time: Duration::from_millis(20),
        page_size: DriveConfig::MAX_PAGE_SIZE,
    };
    let store = DriveBackend::connect(&config).await.expect("the folder can be used");
    let user = Username::parse("mona Zoë").unwrap();
    // Finds that version 2 honours `If-Match`, so that a node that starts later uses it.
    store.probe().expect("a drive has open questions").find_facts(&Key::Check(1)).await.unwrap();
    let (profile, image) = (Key::Profile(user.clone()), Key::Image(user.clone(), ImageName::new(1, 2, ImageKind::Png)));
    let version = store.create(&profile, Bytes::from_static(b"1")).await.unwrap();
    store.create(&image, Bytes::from_static(b"png")).await.unwrap();
    let version = store.replace_if(&profile, &version, Bytes::from_static(b"2")).await.unwrap();
    let store = DriveBackend::connect(&config).await.expect("the folder can be used");
    store.replace_if(&profile, &version, Bytes::from_static(b"2")).await.unwrap();
    store.delete(&profile).await.unwrap();
    store.create(&profile, Bytes::from_static(b"3")).await.unwrap();
    store.get(&profile).await.unwrap().expect("it is there");
    for folder in [Folder::Users, Folder::Images(user), Folder::Checks] {
        store.list(&folder, None).await.unwrap();
    }
    server.set_page_size(1);
    let first = store.list(&Folder::Users, None).await.unwrap();
    store.list(&Folder::Users, first.next.as_deref()).await.unwrap();
}

#[tokio::test]
async fn every_request_to_google_drive_is_valid_by_googles_description() {
    let (description, version_2) = (Description::read("drive.v3.json"), Description::read("drive.v2.json"));
    let server = DriveServer::start();
    use_every_operation(&server).await;
    let (old, requests): (Vec<_>, Vec<_>) =
        server.recorded().into_iter().partition(|request| request.path.contains("/drive/v2/"));
    let calls: BTreeSet<&str> = requests.iter().map(|request| description.check(request)).collect();
    assert_eq!(calls.into_iter().collect::<Vec<_>>(), ["create", "generateIds", "get", "list", "update"]);
    let calls: BTreeSet<&str> = old.iter().map(|request| version_2.check(request)).collect();
    assert_eq!(calls.into_iter().collect::<Vec<_>>(), ["get", "update"]);
    // Each write of version 2 names the etag that the description has.
    assert_eq!(version_2.0["schemas"]["File"]["properties"]["etag"]["type"], "string");
    assert!(old.iter().all(|request| (request.method == "PUT") == request.if_match.is_some()));
    let media = requests.iter().filter(|request| request.parameters.get("alt").is_some_and(|alt| alt == "media"));
    assert!(
        media.count() > 0 && description.0["resources"]["files"]["methods"]["get"]["supportsMediaDownload"] == true
    );
}

#[test]
fn an_invalid_request_is_noticed() {
    let description = Description::read("drive.v3.json");
    let valid = || DriveRequest {
        method: "GET".to_owned(),
        path: "/drive/v3/files".to_owned(),
        parameters: [("pageSize".to_owned(), "1000".to_owned())].into(),
        metadata: None,
        if_match: None,
    };
    assert_eq!(description.check(&valid()), "list");
    for break_it in [
        |r: &mut DriveRequest| r.path = "/drive/v3/filez".to_owned(),
        |r: &mut DriveRequest| r.path = "/drive/v2/files".to_owned(),
        |r: &mut DriveRequest| r.method = "PUT".to_owned(),
        |r: &mut DriveRequest| drop(r.parameters.insert("pageSize".to_owned(), "1001".to_owned())),
        |r: &mut DriveRequest| drop(r.parameters.insert("supportsAllDrive".to_owned(), "true".to_owned())),
        |r: &mut DriveRequest| drop(r.parameters.insert("supportsAllDrives".to_owned(), "1".to_owned())),
        |r: &mut DriveRequest| drop(r.parameters.insert("fields".to_owned(), "files(id,etag)".to_owned())),
        |r: &mut DriveRequest| {
            (r.method, r.path) = ("POST".to_owned(), "/upload/drive/v3/files".to_owned());
            r.metadata = serde_json::json!({ "headRevisionId": "1" }).as_object().cloned();
        },
    ] {
        let mut request = valid();
        break_it(&mut request);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| description.check(&request).len()));
        assert!(checked.is_err(), "{request:?}");
    }
}
