//! Routes about who is registered.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::fields::{ADDR, USERNAME};
use crate::http::app::Shared;
use crate::http::credentials::{NO_STORE, caller, grant};
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::json_body::{Field, JsonBody};
use crate::http::leader_gate::Leader;
use crate::http::lists::list_response::{List, Reader};
use crate::http::lists::{Lists, encode};
use crate::http::params::{Paging, Remote};
use crate::registry::{RegisterOutcome, RegisterRequest};
use rollcall_core::api::{Registered, Registration, Status};
use rollcall_core::clock;
use rollcall_core::{AddrForm, MetadataInput, Password, Username};

const REGISTRATION: &[Field] = &[
    USERNAME,
    ADDR,
    Field { name: "password", wanted: "a text", required: false, fits: Value::is_string },
    Field { name: "metadata", wanted: "an object", required: false, fits: Value::is_object },
];

/// `POST /register`.
pub(super) async fn register(
    _: Leader,
    State(app): State<Shared>,
    remote: Remote,
    body: JsonBody,
) -> Result<impl IntoResponse, ApiError> {
    let wanted: Registration = body.parse(REGISTRATION)?;
    let username = Username::parse(&wanted.username.0)?;
    let addr = match &wanted.addr {
        Some(addr) => Some(AddrForm::parse(&addr.0)?.resolve(remote.ip())),
        None => None,
    };
    let at = addr.map(|addr| format!(" at {addr}")).unwrap_or_default();
    let message = format!("User '{username}' registered successfully{at}");
    let metadata = wanted.metadata.map(MetadataInput::into_result).transpose()?.unwrap_or_default();
    let password = wanted.password.map(Password::check).transpose()?;
    let user = RegisterRequest { username, addr, password, metadata };
    let registered = app.registry.register(user, caller(remote)).await?;
    let (status, user_id) = match registered.outcome {
        RegisterOutcome::New(id) => (StatusCode::CREATED, id),
        RegisterOutcome::Repeated(id) => (StatusCode::OK, id),
    };
    let mut headers = HeaderMap::new();
    if registered.issued_token.is_some() {
        headers.insert(header::CACHE_CONTROL, NO_STORE);
    }
    let grant = registered.issued_token.map(grant);
    Ok((status, headers, Json(Registered { success: true, status: Status::Ok, message, user_id, grant })))
}

/// `GET /users`.
pub(super) async fn users(
    leader: Leader,
    State(app): State<Shared>,
    Extension(lists): Extension<Lists>,
    Paging(page): Paging,
    reader: Reader,
) -> Result<Response, ApiError> {
    app.registry.wait_for_users(leader.term).await?;
    let registry = app.registry.clone();
    let make = move |page, _| List::new(encode::users(&registry, page), None);
    lists
        .answer(&lists.own().users, leader.term, page, reader, || app.registry.users_version(clock::boot_now()), make)
        .await
}

#[cfg(test)]
mod tests;
