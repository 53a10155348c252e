//! Client of the JSON API of Cloud Storage, for uploads, lists and deletes.

use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, Url, redirect};
use serde::Deserialize;
use serde_json::json;

use super::super::error_text::error_chain;
use super::super::google::{
    MAX_ERROR_BODY_BYTES, Refusal, TokenSource, UploadBody, crc32c_base64, random_boundary, read_at_most,
};
use super::super::{BackendError, Folder, Key, ListPage, ListedChild, MAX_OBJECT_BYTES};
use super::request_failure::RequestFailure;

/// Type of every listing of Cloud Storage. It tells an empty listing from an empty JSON object.
const LISTING_KIND: &str = "storage#objects";

/// Client for the requests that Google's client does not offer over HTTP, or not well enough.
#[derive(Debug)]
pub(super) struct JsonApi {
    client: Client,
    tokens: TokenSource,
    /// `…/storage/v1/b/{bucket}/o`.
    objects: Url,
    /// `…/upload/storage/v1/b/{bucket}/o`.
    uploads: Url,
    page_size: usize,
}

/// One page of a listing, as Cloud Storage sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectListing {
    kind: String,
    items: Vec<ListedObject>,
    prefixes: Vec<String>,
    next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ListedObject {
    name: String,
    /// A number as text.
    #[serde(default)]
    size: String,
}

/// A written object, as Cloud Storage sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WrittenObject {
    generation: String,
    crc32c: Option<String>,
}

impl JsonApi {
    pub(super) fn new(
        endpoint: &str,
        bucket: &str,
        tokens: TokenSource,
        page_size: usize,
    ) -> Result<Self, BackendError> {
        let url = |path: &str| {
            Url::parse(&format!("{endpoint}{path}/storage/v1/b/{bucket}/o")).map_err(|error| {
                BackendError::Permanent(format!(
                    "STORAGE_EMULATOR_HOST {endpoint:?} is not an address: {error}; give host:port"
                ))
            })
        };
        // The API never redirects. A redirect comes from a proxy, which must not get the token.
        let client = Client::builder().redirect(redirect::Policy::none()).build();
        let client = client.map_err(|error| BackendError::Permanent(error_chain(&error)))?;
        Ok(Self { client, tokens, objects: url("")?, uploads: url("/upload")?, page_size })
    }

    /// Writes an object if its present generation is this one; 0 is no object. Returns the new
    /// generation.
    pub(super) async fn upload(&self, key: &Key, generation: i64, bytes: &Bytes) -> Result<i64, RequestFailure> {
        let metadata = json!({ "contentType": key.media_type(), "crc32c": crc32c_base64(bytes) });
        let upload = UploadBody::new(&metadata, key.media_type(), bytes, random_boundary());
        let request = self.client.request(Method::POST, self.uploads.clone());
        let request = request.query(&[
            ("uploadType", "multipart"),
            ("name", &key.path()),
            ("ifGenerationMatch", &generation.to_string()),
        ]);
        let request = request.header(http::header::CONTENT_TYPE, upload.content_type).body(upload.body);
        let written: WrittenObject = parse(&self.send(request).await?)?;
        let unproven = |why: &str| RequestFailure::Unproven(format!("the response to the upload {why}"));
        if written.crc32c.is_some_and(|crc32c| crc32c != crc32c_base64(bytes)) {
            return Err(unproven("has the checksum of other bytes"));
        }
        let generation = written.generation.parse().ok().filter(|generation| *generation > 0);
        generation.ok_or_else(|| unproven("does not name the object's generation"))
    }

    pub(super) async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, RequestFailure> {
        let prefix = folder.path();
        let page_size = self.page_size.to_string();
        let mut query = vec![
            ("prefix", prefix.as_str()),
            ("delimiter", "/"),
            ("maxResults", &page_size),
            ("fields", "kind,items(name,size),prefixes,nextPageToken"),
        ];
        query.extend(page.map(|token| ("pageToken", token)));
        let request = self.client.request(Method::GET, self.objects.clone()).query(&query);
        let listing: ObjectListing = parse(&self.send(request).await?)?;
        if listing.kind != LISTING_KIND {
            return Err(RequestFailure::Unproven("the response is no listing".to_owned()));
        }
        Ok(listing.into_page(&prefix))
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<(), RequestFailure> {
        let mut url = self.objects.clone();
        // The path is pushed as one segment, so that the slashes in the object's name are escaped.
        url.path_segments_mut().expect("an http URL has a path").push(&key.path());
        match self.send(self.client.request(Method::DELETE, url)).await {
            // A delete has no body to prove itself with. A body comes from a proxy.
            Ok(body) if body.is_empty() => Ok(()),
            Ok(_) => Err(RequestFailure::Unproven("the response to the delete has a body".to_owned())),
            Err(failure) if failure.is_object_not_found(&key.path()) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Sends a request with a token, and returns the body of a successful response.
    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, RequestFailure> {
        let headers = self.tokens.token_headers().await.map_err(RequestFailure::Credentials)?;
        let response = request.headers(headers).send().await.map_err(|error| unproven(&error))?;
        let status = response.status();
        if !status.is_success() {
            let headers = response.headers().clone();
            let (body, _) = read_at_most(response, MAX_ERROR_BODY_BYTES).await.map_err(|error| unproven(&error))?;
            return Err(RequestFailure::Refused(Refusal::parse(status.as_u16(), &headers, &body)));
        }
        match read_at_most(response, MAX_OBJECT_BYTES).await.map_err(|error| unproven(&error))? {
            (body, true) => Ok(body),
            (_, false) => {
                Err(RequestFailure::Unproven(format!("the response is larger than {MAX_OBJECT_BYTES} bytes")))
            }
        }
    }
}

impl ObjectListing {
    /// The names of the files and folders in the folder `prefix`.
    fn into_page(self, prefix: &str) -> ListPage {
        let objects = self.items.into_iter().map(|item| (item.name, item.size.parse().unwrap_or(0)));
        let paths = objects.chain(self.prefixes.into_iter().map(|path| (path, 0)));
        let mut children: Vec<ListedChild> = paths
            .filter_map(|(path, bytes)| {
                let name = path.strip_prefix(prefix)?.trim_end_matches('/');
                // Some tools create an object with the name of the folder itself.
                (!name.is_empty()).then(|| ListedChild { name: name.to_owned(), bytes })
            })
            .collect();
        children.sort_unstable();
        children.dedup_by(|later, earlier| later.name == earlier.name);
        ListPage { children, next: self.next_page_token.filter(|token| !token.is_empty()) }
    }
}

/// Parses the body of a successful response. Its fields prove the success, so they must be there.
fn parse<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, RequestFailure> {
    serde_json::from_slice(body)
        .map_err(|error| RequestFailure::Unproven(format!("the response cannot be read: {error}")))
}

fn unproven(error: &reqwest::Error) -> RequestFailure {
    RequestFailure::Unproven(error_chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_files_and_folders_in_order_without_the_folder_itself() {
        let page: ObjectListing = serde_json::from_str(
            r#"{"items":[{"name":"users/"},{"name":"users/c","size":"7"}],"prefixes":["users/a-b/","users/a/"],"nextPageToken":""}"#,
        )
        .unwrap();
        let page = page.into_page("users/");
        let children: Vec<_> = page.children.iter().map(|child| (child.name.as_str(), child.bytes)).collect();
        assert_eq!((children, page.next), (vec![("a", 0), ("a-b", 0), ("c", 7)], None));
    }
}
