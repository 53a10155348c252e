//! Password input: a flag, a file, an environment variable, or a prompt without echo.

use std::fs::File;
use std::io::{IsTerminal, Read, stdin};
use std::path::{Path, PathBuf};

use clap::Args;

use super::connection::variable;
use super::exit::{CommandError, SYSTEM, USAGE};
use super::output::print_note;
use rollcall_core::{Password, private_files};

/// Largest password file that is read, in bytes. Larger than any valid password.
const MAX_PASSWORD_FILE_BYTES: usize = 4096;
const PASSWORD_VARIABLE: &str = "ROLLCALL_PASSWORD";
const NEW_PASSWORD_VARIABLE: &str = "ROLLCALL_NEW_PASSWORD";
const PASSWORD_HELP: &str =
    "Password of the user; without a value, the program asks for it without echo [env: ROLLCALL_PASSWORD]";
const NEW_PASSWORD_HELP: &str =
    "New password; without any new password, the program asks for it without echo [env: ROLLCALL_NEW_PASSWORD]";

/// Flags for the password of a user.
#[derive(Args, Clone, Debug)]
pub(super) struct PasswordArgs {
    /// Password
    #[arg(long, value_name = "PASSWORD", value_parser = parse, num_args = 0..=1, help = PASSWORD_HELP)]
    #[expect(clippy::option_option, reason = "three cases: no flag, a flag without a value, a flag with a value")]
    password: Option<Option<Password>>,

    /// Read the password from the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    password_file: Option<PathBuf>,
}

/// Flags for a new password.
#[derive(Args, Clone, Debug)]
pub(super) struct NewPasswordArgs {
    /// New password
    #[arg(long, value_name = "PASSWORD", value_parser = parse, help = NEW_PASSWORD_HELP)]
    new_password: Option<Password>,

    /// Read the new password from the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "new_password")]
    new_password_file: Option<PathBuf>,
}

#[expect(clippy::unnecessary_wraps, reason = "clap needs a parser that returns a `Result`")]
fn parse(text: &str) -> Result<Password, std::convert::Infallible> {
    Ok(Password::new(text.to_owned()))
}

impl PasswordArgs {
    /// Whether the command line contains a password flag.
    pub(super) fn is_given(&self) -> bool {
        self.password.is_some() || self.password_file.is_some()
    }

    /// The password, if one is given or a prompt is requested.
    ///
    /// A prompt for a new password (`is_new`) asks twice.
    pub(super) fn optional(&self, is_new: bool) -> Result<Option<Password>, CommandError> {
        match (&self.password, &self.password_file) {
            (Some(Some(password)), _) => {
                warn_about_ps("--password");
                Ok(Some(password.clone()))
            }
            (Some(None), _) => prompt_for_password("Password: ", is_new).map(Some),
            (None, Some(path)) => read_first_line(path).map(Some),
            (None, None) => Ok(variable(PASSWORD_VARIABLE).map(Password::new)),
        }
    }

    /// The password. If none is given, the user is asked for it.
    pub(super) fn required(&self) -> Result<Password, CommandError> {
        match self.optional(false)? {
            Some(password) => Ok(password),
            None => prompt_for_password("Password: ", false),
        }
    }
}

impl NewPasswordArgs {
    /// The new password. If none is given, the user is asked for it twice.
    pub(super) fn required(&self) -> Result<Password, CommandError> {
        match (&self.new_password, &self.new_password_file, variable(NEW_PASSWORD_VARIABLE)) {
            (Some(password), ..) => {
                warn_about_ps("--new-password");
                Ok(password.clone())
            }
            (None, Some(path), _) => read_first_line(path),
            (None, None, Some(password)) => Ok(Password::new(password)),
            (None, None, None) => prompt_for_password("New password: ", true),
        }
    }
}

/// Warns that `ps` shows a password that stands on the command line.
fn warn_about_ps(flag: &str) {
    print_note(&format!(
        "hint: with {flag} VALUE other users of this machine can see the password in `ps`; use a prompt, {flag}-file or the \
         environment variable instead"
    ));
}

/// Asks for a password at the terminal. Asks twice for a new password, because the registry cannot
/// detect a typing error in it.
fn prompt_for_password(prompt: &str, is_new: bool) -> Result<Password, CommandError> {
    if !stdin().is_terminal() {
        let remedy =
            "give a file (--password-file or --new-password-file) or ROLLCALL_PASSWORD or ROLLCALL_NEW_PASSWORD";
        return Err(CommandError::new(
            USAGE,
            format!("a password is needed, and standard input is not a terminal; {remedy}"),
        ));
    }
    let read = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map_err(|error| CommandError::new(SYSTEM, format!("cannot ask for the password: {error}")))
    };
    let password = read(prompt)?;
    if is_new && read("Repeat the password: ")? != password {
        return Err(CommandError::new(USAGE, "the two passwords differ; nothing was changed"));
    }
    if password.is_empty() {
        Err(CommandError::new(USAGE, "no password was given"))
    } else {
        Ok(Password::new(password))
    }
}

fn read_first_line(path: &Path) -> Result<Password, CommandError> {
    let unusable =
        |reason: String| CommandError::new(USAGE, format!("cannot use the password file {}: {reason}", path.display()));
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_PASSWORD_FILE_BYTES + 1).unwrap_or(u64::MAX);
    let file = File::open(path).map_err(|error| unusable(error.to_string()))?;
    if let Some(warning) = private_files::exposure(path) {
        print_note(&format!("warning: {warning}"));
    }
    file.take(limit).read_to_end(&mut bytes).map_err(|error| unusable(error.to_string()))?;
    if bytes.len() > MAX_PASSWORD_FILE_BYTES {
        return Err(unusable(format!("it has more than {MAX_PASSWORD_FILE_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| unusable("it is not UTF-8".to_owned()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Password::new(line.to_owned())),
        Some(_) | None => Err(unusable("its first line is empty".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line_of_the_file_without_its_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        for (text, password) in [("s e c\n", "s e c"), ("s\r\nrest", "s"), ("s", "s")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_first_line(&path).unwrap().reveal(), password);
        }
        for bad in [Vec::new(), b"\nsecond".to_vec(), vec![b'x'; MAX_PASSWORD_FILE_BYTES + 1], vec![0xff]] {
            std::fs::write(&path, &bad).unwrap();
            let error = read_first_line(&path).unwrap_err().to_string();
            assert!(error.contains("password file"), "{error}");
        }
        assert!(read_first_line(&dir.path().join("none")).is_err());
    }
}
