//! Requests for the images of a user.

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::IF_NONE_MATCH;

use super::ClientError;
use super::path_segment::path_segment;
use super::request::{Idempotency, MAX_IMAGE_BYTES, MAX_LIST_BYTES, RequestOptions};
use super::retry::LeaderClient;
use rollcall_core::api::Images;
use rollcall_core::{ImageName, Username};

/// Names of a user's images, oldest first.
pub(super) async fn images(leader: &LeaderClient, user: &Username) -> Result<Images, ClientError> {
    let options = RequestOptions::new(Idempotency::Idempotent).max_bytes(MAX_LIST_BYTES);
    let path = format!("images/{}", path_segment(user.as_str()));
    leader.send(options, |http, base| http.get(format!("{base}/{path}"))).await?.parse()
}

/// Bytes of an image. `known` is the entity tag of the caller's copy; `None` is returned if the
/// image still has this tag.
pub(super) async fn image(
    leader: &LeaderClient,
    user: &Username,
    image: &ImageName,
    known: Option<&str>,
) -> Result<Option<Bytes>, ClientError> {
    let options = RequestOptions::new(Idempotency::Idempotent).max_bytes(MAX_IMAGE_BYTES);
    let path = format!("image/{}/{image}", path_segment(user.as_str()));
    let response = leader
        .send(options, |http, base| {
            let request = http.get(format!("{base}/{path}"));
            match known {
                Some(tag) => request.header(IF_NONE_MATCH, tag),
                None => request,
            }
        })
        .await?;
    Ok((response.status != StatusCode::NOT_MODIFIED).then_some(response.body))
}
