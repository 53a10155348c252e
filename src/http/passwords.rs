//! Routes by which a password is proved and changed.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::Value;

use super::app::Shared;
use super::credentials::{NO_STORE, caller};
use super::error::ApiError;
use super::json::{Field, Json, JsonBody};
use super::leader::Leader;
use super::params::Remote;
use super::users::USERNAME;
use crate::api::{Grant, LoggedIn, Login, PasswordChange, Status};
use crate::domain::Username;
use crate::registry::Granted;

const PASSWORD: Field = Field { name: "password", wanted: "a text", required: true, fits: Value::is_string };

const LOGIN: &[Field] = &[USERNAME, PASSWORD];

const CHANGE: &[Field] =
    &[USERNAME, PASSWORD, Field { name: "new_password", wanted: "a text", required: true, fits: Value::is_string }];

/// `POST /login`.
pub(super) async fn login(
    _: Leader,
    State(app): State<Shared>,
    remote: Remote,
    body: JsonBody,
) -> Result<impl IntoResponse, ApiError> {
    let login: Login = body.parse(LOGIN)?;
    let username = Username::parse(&login.username.0)?;
    let granted = app.registry.login(&username, login.password.check()?, caller(remote)).await?;
    Ok(logged_in(format!("User '{username}' logged in"), granted))
}

/// `POST /password`.
pub(super) async fn change(
    _: Leader,
    State(app): State<Shared>,
    remote: Remote,
    body: JsonBody,
) -> Result<impl IntoResponse, ApiError> {
    let change: PasswordChange = body.parse(CHANGE)?;
    let username = Username::parse(&change.username.0)?;
    let (old, new) = (change.password.check()?, change.new_password.check()?);
    let granted = app.registry.change_password(&username, old, new, caller(remote)).await?;
    Ok(logged_in(format!("The password of '{username}' is changed; earlier tokens have ended"), granted))
}

fn logged_in(message: String, granted: Granted) -> impl IntoResponse {
    let body = LoggedIn { success: true, status: Status::Ok, message, grant: grant(granted) };
    ([(header::CACHE_CONTROL, NO_STORE)], Json(body))
}

/// A token as it is sent.
pub(super) fn grant(granted: Granted) -> Grant {
    Grant { token: granted.token, token_expires_at: granted.expires_at.to_rfc3339() }
}
