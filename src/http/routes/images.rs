//! Routes about pictures.

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Multipart, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use tracing::warn;

use crate::http::app::Shared;
use crate::http::credentials::{Authorization, caller};
use crate::http::error::ApiError;
use crate::http::json::{APPLICATION_JSON, Json};
use crate::http::leader_gate::Leader;
use crate::http::limits::{MAX_FORM_BYTES, MAX_IMAGE_BYTES};
use crate::http::lists::etag;
use crate::http::params::{Name, Paging, Remote};
use crate::http::slow_read_timeout::SlowReadTimeout;
use crate::http::upload_limit::{Held, UploadLimit};
use crate::registry::ImageError;
use rollcall_core::api::{Images, Uploaded};
use rollcall_core::clock;
use rollcall_core::{ImageName, Username};

/// A stored picture never changes.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The picture of a form, and the memory it takes.
pub(super) struct Picture {
    bytes: Bytes,
    _form: Held,
}

/// The `{username}/{filename}` of the path. A name that no picture can have is the name of no picture.
pub(super) struct ImagePath(Username, ImageName);

/// `POST /upload_image/{username}`.
pub(super) async fn upload(
    _: Leader,
    State(app): State<Shared>,
    Extension(uploads): Extension<UploadLimit>,
    remote: Remote,
    authorization: Authorization,
    name: Result<Name, ApiError>,
    picture: Picture,
) -> Result<(StatusCode, Json<Uploaded>), ApiError> {
    // Only now: a refusal before the body was read would not arrive.
    let Name(user) = name?;
    let _place = uploads.place().await?;
    let credentials = authorization.credentials();
    let image = app.registry.upload(&user, picture.bytes.clone(), credentials, caller(remote)).await?;
    let message = "Image uploaded successfully".to_owned();
    Ok((StatusCode::CREATED, Json(Uploaded { success: true, message, filename: image.to_string() })))
}

/// `GET /images/{username}`.
pub(super) async fn images(
    _: Leader,
    State(app): State<Shared>,
    Name(user): Name,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let names = app.registry.images(&user, clock::boot_now()).await?;
    let images: Vec<String> = names.iter().map(ToString::to_string).collect();
    Ok(etag::list(&headers, &Images { count: images.len(), images }))
}

/// `GET /image/{username}/{filename}`.
pub(super) async fn image(
    _: Leader,
    State(app): State<Shared>,
    ImagePath(user, image): ImagePath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let bytes = app.registry.image(&user, &image, clock::boot_now()).await?;
    let media_type = HeaderValue::from_static(image.kind().media_type());
    let mut response = etag::tagged(&headers, bytes, media_type, FOREVER);
    // Whatever a browser may see in the bytes, they are a picture.
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// `GET /discover_with_images`.
pub(super) async fn discover_with_images(
    leader: Leader,
    State(app): State<Shared>,
    slow_read: Option<Extension<SlowReadTimeout>>,
    Paging(page): Paging,
) -> Result<Response, ApiError> {
    app.registry.wait_for_clients(leader.term).await;
    let chunks = app.registry.online_with_images(&page, clock::boot_now()).await?;
    let chunks = chunks.inspect_err(|error| warn!("cut off an answer with images: {}", error.cause()));
    // Without a connection, as in tests, nobody watches.
    let Extension(slow_read) = slow_read.unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, APPLICATION_JSON)], Body::from_stream(slow_read.watch(chunks))).into_response())
}

impl<S: Send + Sync> FromRequest<S> for Picture {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let too_large = || ApiError::BodyTooLarge { limit: MAX_IMAGE_BYTES };
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        // Absent only if a route was given no bounds, which any test of it would show.
        let unbounded = || ApiError::Internal("uploads stand outside their bounds".to_owned());
        let uploads = request.extensions().get::<UploadLimit>().cloned().ok_or_else(unbounded)?;
        let held = match uploads.read(request, MAX_IMAGE_BYTES + MAX_FORM_BYTES).await {
            Err(ApiError::BodyTooLarge { .. }) => return Err(too_large()),
            held => held?,
        };
        let mut form = Request::new(Body::from(held.bytes.clone()));
        if let Some(content_type) = content_type {
            form.headers_mut().insert(header::CONTENT_TYPE, content_type);
        }
        let missing = |why: String| ApiError::MissingImage(why);
        let mut fields = Multipart::from_request(form, state).await.map_err(|why| missing(why.body_text()))?;
        let mut picture = None;
        while let Some(field) = fields.next_field().await.map_err(|why| missing(why.body_text()))? {
            if field.name() != Some("image") {
                continue;
            }
            if picture.is_some() {
                let (found, wanted) = ("given twice".to_owned(), "one file; upload each image by itself");
                return Err(ApiError::InvalidField { field: "image", found, wanted });
            }
            let bytes = field.bytes().await.map_err(|why| missing(why.body_text()))?;
            if bytes.len() > MAX_IMAGE_BYTES {
                return Err(too_large());
            }
            picture = Some(bytes);
        }
        let bytes = picture.ok_or_else(|| missing("the form has no such field".to_owned()))?;
        Ok(Self { bytes, _form: held })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ImagePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let nothing = || ApiError::Image(ImageError::NotFound);
        let Ok(Path((user, image))) = Path::<(String, String)>::from_request_parts(parts, state).await else {
            return Err(nothing());
        };
        let image = ImageName::parse(&image).map_err(|_| nothing())?;
        Ok(Self(Username::parse(&user)?, image))
    }
}

#[cfg(test)]
mod tests;
