//! `rollcall login` and `rollcall passwd`: exchange a password for a token; change a password.

use clap::Args;
use serde_json::json;

use super::connection::{Account, AccountArgs};
use super::exit::{CommandError, USAGE};
use super::output::{CommandOutput, OutputArgs};
use super::password_input::{NewPasswordArgs, PasswordArgs};
use rollcall_core::api::LoggedIn;
use rollcall_core::escape::escape_controls;

/// Arguments of `login`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall login --username alice                                  # asks for the password",
    "rollcall login --username alice --password-file secret.txt --server http://localhost:3000",
]))]
pub(super) struct LoginArgs {
    #[command(flatten)]
    account: AccountArgs,

    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `passwd`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::client(&[
    "rollcall passwd --username alice                                 # asks for both passwords",
    "rollcall passwd --username alice --password-file old.txt --new-password-file new.txt",
]))]
pub(super) struct PasswdArgs {
    #[command(flatten)]
    account: AccountArgs,

    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    new_password: NewPasswordArgs,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn log_in(args: LoginArgs) -> Result<(), CommandError> {
    let password = args.password.required()?;
    // If the saved settings cannot be read, the login replaces them.
    let mut account = args.account.with_saved_settings().or_else(|_| args.account.without_saved_settings())?;
    let logged_in = account.client.log_in(&account.user, &password).await?;
    save_and_print(CommandOutput::new(args.output), &mut account, logged_in)
}

pub(super) async fn change_password(args: PasswdArgs) -> Result<(), CommandError> {
    let old = args.password.required()?;
    let new = args.new_password.required()?;
    if new.reveal().is_empty() {
        return Err(CommandError::new(USAGE, "the new password is empty"));
    }
    let mut account = args.account.with_saved_settings().or_else(|_| args.account.without_saved_settings())?;
    let changed = account.client.change_password(&account.user, &old, &new).await?;
    save_and_print(CommandOutput::new(args.output), &mut account, changed)
}

/// Saves the new token, and prints the result.
fn save_and_print(output: CommandOutput, account: &mut Account, logged_in: LoggedIn) -> Result<(), CommandError> {
    let expires_at = logged_in.grant.token_expires_at;
    let path = account.save_settings(|settings| settings.token_expires_at = Some(expires_at.clone()))?;
    if output.is_json {
        return output.json(&json!({
            "username": account.user,
            "message": logged_in.message,
            "token_expires_at": expires_at,
            "settings": path,
        }));
    }
    output.line(&escape_controls(&logged_in.message))?;
    output.line(&escape_controls(&format!("Token, valid until {expires_at}, saved to {}", path.display())))
}
