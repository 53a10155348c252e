//! The form of an upload: `multipart/form-data` with the image in the field `image`.
//!
//! The boundary is read here and not by axum, which refuses a content type that breaks RFC 9110.
//! Many clients send such boundaries, for example with an unquoted `/` or `=`.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::stream;
use multer::Multipart;

use super::error::ApiError;
use super::header_parameter::parameter;
use super::limits::MAX_BOUNDARY_BYTES;
use super::params::quoted;

/// The bytes of the field `image` in a form. `headers`: those of the request.
///
/// # Errors
/// `missing_image` if the body is not a form or has no such field, `invalid_field` if it has two.
pub(super) async fn image_field(headers: &HeaderMap, body: Bytes) -> Result<Bytes, ApiError> {
    let boundary = boundary(headers.get(header::CONTENT_TYPE)).map_err(ApiError::MissingImage)?;
    let unreadable = |error: multer::Error| ApiError::MissingImage(explain(&error, &body, &boundary));
    let chunks = stream::iter([Ok::<_, Infallible>(body.clone())]);
    let mut fields = Multipart::new(chunks, boundary.as_str());
    let mut image = None;
    while let Some(field) = fields.next_field().await.map_err(unreadable)? {
        // `Field::name` takes the text `name=` inside a file name for the name.
        let disposition = field.headers().get(header::CONTENT_DISPOSITION);
        let name = disposition.and_then(|value| parameter(value.as_bytes(), "name"));
        if name.as_deref() != Some(b"image") {
            continue;
        }
        if image.is_some() {
            let (found, expected) = ("given twice".to_owned(), "one file; send each image in a request of its own");
            return Err(ApiError::InvalidField { field: "image", found, expected });
        }
        image = Some(field.bytes().await.map_err(unreadable)?);
    }
    image.ok_or_else(|| ApiError::MissingImage("the form has no such field".to_owned()))
}

/// The boundary between the parts of a form.
///
/// # Errors
/// A text that says what is wrong with the content type.
fn boundary(content_type: Option<&HeaderValue>) -> Result<String, String> {
    let content_type = content_type.ok_or("the request has no Content-Type")?.as_bytes();
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    if !media_type.trim_ascii().eq_ignore_ascii_case(b"multipart/form-data") {
        let media_type = quoted(&String::from_utf8_lossy(media_type));
        return Err(format!("the Content-Type is {media_type} and not \"multipart/form-data\""));
    }
    let given = parameter(content_type, "boundary").ok_or("the Content-Type has no boundary")?;
    let is_valid = (1..=MAX_BOUNDARY_BYTES).contains(&given.len())
        && given.iter().all(|byte| matches!(byte, b' '..=b'~'))
        && given.last() != Some(&b' ');
    String::from_utf8(given).ok().filter(|_| is_valid).ok_or_else(|| {
        format!("the boundary in the Content-Type must have 1 to {MAX_BOUNDARY_BYTES} visible ASCII characters")
    })
}

/// Says why a form cannot be read.
fn explain(error: &multer::Error, body: &[u8], boundary: &str) -> String {
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let after_delimiter = body.windows(delimiter.len()).position(|window| window == delimiter);
    let is_cut_off = matches!(
        error,
        multer::Error::IncompleteStream | multer::Error::IncompleteFieldData { .. } | multer::Error::IncompleteHeaders
    );
    match after_delimiter.map(|at| &body[at + delimiter.len()..]) {
        None => format!("the body does not have the boundary {} of the Content-Type", quoted(boundary)),
        Some([b'\n', ..]) => "the lines of the form end with LF and not with CR LF".to_owned(),
        Some(_) if is_cut_off => {
            format!("the form is cut off: it does not end with {}", quoted(&format!("--{boundary}--")))
        }
        Some(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
