//! Client of the JSON API of Cloud Storage, for lists and deletes.

use google_cloud_auth::credentials::{CacheableResource, Credentials};
use reqwest::{Client, Method, RequestBuilder, Response, Url, redirect};
use serde::Deserialize;

use super::super::error_text::error_chain;
use super::super::{BackendError, Folder, Key, ListPage, MAX_OBJECT_BYTES};
use super::request_failure::RequestFailure;

/// Client for the requests that Google's crate does not offer over HTTP.
#[derive(Debug)]
pub(super) struct JsonApi {
    client: Client,
    credentials: Credentials,
    /// `…/storage/v1/b/{bucket}/o`.
    objects: Url,
    bucket: String,
    page_size: usize,
}

/// One page of a listing, as Cloud Storage sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectListing {
    items: Vec<ListedObject>,
    prefixes: Vec<String>,
    next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ListedObject {
    name: String,
}

impl JsonApi {
    pub(super) fn new(
        endpoint: &str,
        bucket: &str,
        credentials: Credentials,
        page_size: usize,
    ) -> Result<Self, BackendError> {
        let objects = Url::parse(&format!("{endpoint}/storage/v1/b/{bucket}/o")).map_err(|error| {
            BackendError::Permanent(format!(
                "STORAGE_EMULATOR_HOST {endpoint:?} is not an address: {error}; give host:port"
            ))
        })?;
        // The API never redirects. A redirect comes from a proxy, which must not get the token.
        let client = Client::builder().redirect(redirect::Policy::none()).build();
        let client = client.map_err(|error| BackendError::Permanent(error_chain(&error)))?;
        Ok(Self { client, credentials, objects, bucket: bucket.to_owned(), page_size })
    }

    pub(super) async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError> {
        let prefix = folder.path();
        let page_size = self.page_size.to_string();
        let mut query = vec![
            ("prefix", prefix.as_str()),
            ("delimiter", "/"),
            ("maxResults", &page_size),
            ("fields", "items(name),prefixes,nextPageToken"),
        ];
        query.extend(page.map(|token| ("pageToken", token)));
        let request = self.client.request(Method::GET, self.objects.clone()).query(&query);
        let body = self.send(request).await.map_err(|failure| failure.into_error(&self.bucket))?;
        // A transient error, because the body may have been truncated on the way.
        let page: ObjectListing = serde_json::from_slice(&body)
            .map_err(|error| BackendError::transient(format!("the listing cannot be read: {error}")))?;
        Ok(page.into_page(&prefix))
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<(), BackendError> {
        let mut url = self.objects.clone();
        // The path is pushed as one segment, so that the slashes in the object's name are escaped.
        url.path_segments_mut().expect("an http URL has a path").push(&key.path());
        match self.send(self.client.request(Method::DELETE, url)).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_object_not_found() => Ok(()),
            Err(failure) => Err(failure.into_error(&self.bucket)),
        }
    }

    /// Sends a request with a token, and returns the body of a successful response.
    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, RequestFailure> {
        let headers = match self.credentials.headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => data,
            Ok(CacheableResource::NotModified) => unreachable!("the request named no earlier token"),
            Err(error) => return Err(RequestFailure::Credentials(error.is_transient(), error_chain(&error))),
        };
        let response = request.headers(headers).send().await;
        let response = response.map_err(|error| RequestFailure::NoResponse(error_chain(&error)))?;
        let status = response.status();
        let body = read_body(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(RequestFailure::Status(status.as_u16(), error_message(&body)))
    }
}

impl ObjectListing {
    /// The names of the files and folders in the folder `prefix`.
    fn into_page(self, prefix: &str) -> ListPage {
        let paths = self.items.into_iter().map(|item| item.name).chain(self.prefixes);
        let mut names: Vec<String> = paths
            .filter_map(|path| path.strip_prefix(prefix).map(|name| name.trim_end_matches('/').to_owned()))
            // Some tools create an object with the name of the folder itself.
            .filter(|name| !name.is_empty())
            .collect();
        names.sort_unstable();
        names.dedup();
        ListPage { names, next: self.next_page_token.filter(|token| !token.is_empty()) }
    }
}

/// Reads a body of at most [`MAX_OBJECT_BYTES`].
async fn read_body(mut response: Response) -> Result<Vec<u8>, RequestFailure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| RequestFailure::NoResponse(error_chain(&error)))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_OBJECT_BYTES {
            return Err(RequestFailure::NotSent(format!("the response is larger than {MAX_OBJECT_BYTES} bytes")));
        }
    }
    Ok(body)
}

/// The error message in a JSON body, or else the body itself. Cut to 300 characters for a log line.
fn error_message(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| json.pointer("/error/message")?.as_str()).map(str::to_owned);
    message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()).chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_files_and_folders_in_order_without_the_folder_itself() {
        let page: ObjectListing = serde_json::from_str(
            r#"{"items":[{"name":"users/"},{"name":"users/c"}],"prefixes":["users/a-b/","users/a/"],"nextPageToken":""}"#,
        )
        .unwrap();
        let names = page.into_page("users/");
        assert_eq!(names, ListPage { names: vec!["a".into(), "a-b".into(), "c".into()], next: None });
    }

    #[test]
    fn an_empty_page_has_no_fields() {
        let page: ObjectListing = serde_json::from_str("{}").unwrap();
        assert_eq!(page.into_page("users/"), ListPage::default());
    }

    #[test]
    fn the_error_message_is_read_from_json_or_plain_text() {
        assert_eq!(error_message(br#"{"error":{"code":403,"message":"no access"}}"#), "no access");
        assert_eq!(error_message(b"Bad Gateway"), "Bad Gateway");
    }
}
