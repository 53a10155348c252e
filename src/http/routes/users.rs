//! Routes for registrations and for the list of users.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::fields::{ADDR, USERNAME, parse_addr};
use crate::http::app::SharedApp;
use crate::http::credentials::{NO_STORE, caller, to_grant};
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::json_body::{FieldSpec, JsonBody};
use crate::http::leader_gate::LeaderOnly;
use crate::http::lists::list_response::{EncodedList, ListReader};
use crate::http::lists::{ListService, encode};
use crate::http::params::PageParams;
use crate::http::pool_client::PoolClient;
use crate::registry::{RegisterError, RegisterOutcome, RegisterRequest};
use rollcall_core::api::{Registered, Registration, Status};
use rollcall_core::clock;
use rollcall_core::{MetadataInput, Password, Username};

const REGISTRATION: &[FieldSpec] = &[
    USERNAME,
    ADDR,
    FieldSpec { name: "password", expected: "a text", required: false, has_valid_type: Value::is_string },
    FieldSpec { name: "metadata", expected: "an object", required: false, has_valid_type: Value::is_object },
];

/// `POST /register`.
pub(super) async fn register(
    _: LeaderOnly,
    State(app): State<SharedApp>,
    client: PoolClient,
    body: JsonBody,
) -> Result<impl IntoResponse, ApiError> {
    let registration: Registration = body.parse(REGISTRATION)?;
    let username = Username::parse(&registration.username.0)?;
    let addr = parse_addr(registration.addr.as_ref(), client.addr)?;
    let at_addr = addr.map(|addr| format!(" at {addr}")).unwrap_or_default();
    let message = format!("User '{username}' registered successfully{at_addr}");
    let metadata = registration.metadata.map(MetadataInput::into_result).transpose()?.unwrap_or_default();
    let password = registration.password.map(Password::check).transpose()?;
    let user = RegisterRequest { username, addr, password, metadata };
    let registered = app.registry.register(user, caller(&client)).await.map_err(|error| match error {
        RegisterError::Taken(username) if app.discovery_server_compat => ApiError::UserExistsCompat(username),
        error => ApiError::Register(error),
    })?;
    let (status, user_id) = match registered.outcome {
        RegisterOutcome::New(id) => (StatusCode::CREATED, id),
        RegisterOutcome::Repeated(id) => (StatusCode::OK, id),
    };
    let mut headers = HeaderMap::new();
    if registered.issued_token.is_some() {
        headers.insert(header::CACHE_CONTROL, NO_STORE);
    }
    let grant = registered.issued_token.map(to_grant);
    Ok((status, headers, Json(Registered { success: true, status: Status::Ok, message, user_id, grant })))
}

/// `GET /users`.
pub(super) async fn users(
    leader: LeaderOnly,
    State(app): State<SharedApp>,
    Extension(lists): Extension<ListService>,
    PageParams(page): PageParams,
    reader: ListReader,
) -> Result<Response, ApiError> {
    app.registry.wait_for_users(leader.term).await?;
    let registry = app.registry.clone();
    let build = move |page, _| EncodedList::new(encode::users(&registry, page), None);
    lists
        .respond(
            &lists.leader_lists().users,
            leader.term,
            page,
            reader,
            || app.registry.users_version(clock::boot_now()),
            build,
        )
        .await
}

#[cfg(test)]
mod tests;
