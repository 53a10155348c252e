//! Routes for images.

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use tracing::warn;

use crate::http::app::SharedApp;
use crate::http::credentials::{Authorization, caller};
use crate::http::error::ApiError;
use crate::http::image_form::image_field;
use crate::http::json::{APPLICATION_JSON, Json};
use crate::http::leader_gate::LeaderOnly;
use crate::http::limits::{MAX_FORM_OVERHEAD_BYTES, MAX_IMAGE_BYTES};
use crate::http::lists::list_response::{self, EncodedList, ListReader};
use crate::http::lists::{ListService, etag};
use crate::http::params::{PageParams, UsernamePath};
use crate::http::pool_client::PoolClient;
use crate::http::slow_read_timeout::SlowReadTimeout;
use crate::http::upload_limit::{BufferedUpload, UploadLimit};
use crate::registry::ImageError;
use rollcall_core::api::{Images, Uploaded};
use rollcall_core::clock;
use rollcall_core::{ImageName, Username};

/// `Cache-Control` of a stored image, which never changes.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The image from an uploaded form. It holds the memory reservation of the form.
pub(super) struct UploadedImage {
    bytes: Bytes,
    form: BufferedUpload,
}

/// The path parameters `username` and `file`. For an invalid image name, the answer is
/// `image_not_found`.
pub(super) struct ImagePath(Username, ImageName);

/// `POST /upload_image/{username}`.
pub(super) async fn upload(
    _: LeaderOnly,
    State(app): State<SharedApp>,
    Extension(uploads): Extension<UploadLimit>,
    client: PoolClient,
    authorization: Authorization,
    name: Result<UsernamePath, ApiError>,
    image_file: UploadedImage,
) -> Result<(StatusCode, Json<Uploaded>), ApiError> {
    // An invalid username is rejected here, after the body was read. A response that is sent
    // earlier could be lost (see `body.rs`).
    let UsernamePath(user) = name?;
    let _permit = uploads.acquire_permit(&image_file.form).await?;
    let credentials = authorization.credentials();
    let image = app.registry.upload(&user, image_file.bytes.clone(), credentials, caller(&client)).await?;
    let message = "Image uploaded successfully".to_owned();
    Ok((StatusCode::CREATED, Json(Uploaded { success: true, message, filename: image.to_string() })))
}

/// `GET /images/{username}`.
pub(super) async fn images(
    _: LeaderOnly,
    State(app): State<SharedApp>,
    Extension(lists): Extension<ListService>,
    UsernamePath(user): UsernamePath,
    reader: ListReader,
) -> Result<Response, ApiError> {
    let build = || async {
        let names = app.registry.images(&user, caller(&reader.client)).await?;
        let images: Vec<String> = names.iter().map(ToString::to_string).collect();
        let images = Images { count: images.len(), images };
        Ok(EncodedList::new(serde_json::to_vec(&images).expect("all keys are strings"), None))
    };
    let (list, permit) = lists.read_image_within(&reader.client, build, EncodedList::len).await?;
    Ok(list_response::respond(list, reader, Some(permit)))
}

/// `GET /image/{username}/{file}`.
pub(super) async fn image(
    _: LeaderOnly,
    State(app): State<SharedApp>,
    Extension(lists): Extension<ListService>,
    ImagePath(user, image): ImagePath,
    reader: ListReader,
) -> Result<Response, ApiError> {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(image.kind().media_type())),
        (header::CACHE_CONTROL, FOREVER),
        // A browser must not guess another type from the bytes.
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ]);
    let read = || async { Ok(app.registry.image(&user, &image, caller(&reader.client)).await?) };
    if reader.is_conditional() {
        let bytes = read().await?;
        let tag = etag::entity_tag(&bytes);
        if !reader.needs_body(&tag) {
            return Ok(list_response::respond_with_tag(headers, tag, bytes, reader, None));
        }
        // It is read again with a permit. Otherwise it would take memory while it waits for one.
    }
    let (bytes, permit) = lists.read_image_within(&reader.client, read, Bytes::len).await?;
    Ok(list_response::respond_with_tag(headers, etag::entity_tag(&bytes), bytes, reader, Some(permit)))
}

/// `GET /discover_with_images`.
pub(super) async fn discover_with_images(
    leader: LeaderOnly,
    State(app): State<SharedApp>,
    slow_read: Option<Extension<SlowReadTimeout>>,
    client: PoolClient,
    PageParams(page): PageParams,
) -> Result<Response, ApiError> {
    app.registry.wait_for_clients(leader.term).await;
    let chunks = app.registry.online_with_images(&page, clock::boot_now(), client.block(), client.connection.0).await?;
    let chunks = chunks.inspect_err(|error| warn!(cause = error.cause(), "a response with images was cut off"));
    // Tests have no connection, and so no limit on slow reads.
    let Extension(slow_read) = slow_read.unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, APPLICATION_JSON)], Body::from_stream(slow_read.watch(chunks))).into_response())
}

impl<S: Sync> FromRequest<S> for UploadedImage {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let too_large = || ApiError::BodyTooLarge { limit: MAX_IMAGE_BYTES };
        let headers = request.headers().clone();
        // The extension is missing only if the route was built without it. Then every upload test
        // fails.
        let no_limit = || ApiError::Internal("the upload route has no upload limit".to_owned());
        let uploads = request.extensions().get::<UploadLimit>().cloned().ok_or_else(no_limit)?;
        let form_body = match uploads.read_body(request, MAX_IMAGE_BYTES + MAX_FORM_OVERHEAD_BYTES).await {
            Err(ApiError::BodyTooLarge { .. }) => return Err(too_large()),
            form_body => form_body?,
        };
        let bytes = image_field(&headers, form_body.bytes.clone()).await?;
        if bytes.len() > MAX_IMAGE_BYTES {
            return Err(too_large());
        }
        Ok(Self { bytes, form: form_body })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ImagePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let not_found = || ApiError::Image(ImageError::NotFound);
        let Ok(Path((user, image))) = Path::<(String, String)>::from_request_parts(parts, state).await else {
            return Err(not_found());
        };
        let image = ImageName::parse(&image).map_err(|_| not_found())?;
        Ok(Self(Username::parse(&user)?, image))
    }
}

#[cfg(test)]
mod tests;
