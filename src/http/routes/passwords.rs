//! Routes for logins and password changes.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::Value;

use super::fields::USERNAME;
use crate::http::app::SharedApp;
use crate::http::credentials::{NO_STORE, caller, to_grant};
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::json_body::{FieldSpec, JsonBody};
use crate::http::leader_gate::LeaderOnly;
use crate::http::pool_client::PoolClient;
use crate::registry::IssuedToken;
use rollcall_core::Username;
use rollcall_core::api::{LoggedIn, Login, PasswordChange, Status};

const PASSWORD: FieldSpec =
    FieldSpec { name: "password", expected: "a text", required: true, has_valid_type: Value::is_string };

const LOGIN: &[FieldSpec] = &[USERNAME, PASSWORD];

const PASSWORD_CHANGE: &[FieldSpec] = &[
    USERNAME,
    PASSWORD,
    FieldSpec { name: "new_password", expected: "a text", required: true, has_valid_type: Value::is_string },
];

/// `POST /login`.
pub(super) async fn login(
    _: LeaderOnly,
    State(app): State<SharedApp>,
    client: PoolClient,
    body: JsonBody,
) -> Result<impl IntoResponse, ApiError> {
    let login: Login = body.parse(LOGIN)?;
    let username = Username::parse(&login.username.0)?;
    let issued_token = app.registry.login(&username, login.password.check()?, caller(&client)).await?;
    Ok(logged_in(format!("User '{username}' logged in"), issued_token))
}

/// `POST /password`.
pub(super) async fn change(
    _: LeaderOnly,
    State(app): State<SharedApp>,
    client: PoolClient,
    body: JsonBody,
) -> Result<impl IntoResponse, ApiError> {
    let change: PasswordChange = body.parse(PASSWORD_CHANGE)?;
    let username = Username::parse(&change.username.0)?;
    let (old, new) = (change.password.check()?, change.new_password.check()?);
    let issued_token = app.registry.change_password(&username, old, new, caller(&client)).await?;
    Ok(logged_in(format!("The password of '{username}' is changed; earlier tokens have ended"), issued_token))
}

fn logged_in(message: String, issued_token: IssuedToken) -> impl IntoResponse {
    let body = LoggedIn { success: true, status: Status::Ok, message, grant: to_grant(issued_token) };
    ([(header::CACHE_CONTROL, NO_STORE)], Json(body))
}

#[cfg(test)]
mod tests;
