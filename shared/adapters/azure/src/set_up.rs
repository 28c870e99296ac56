//! Faults of the set-up of this machine that keep a credential from giving a token. No service was asked then, so they
//! are reported as faults of the configuration and not of a service.

use std::env;
use std::error::Error as _;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::{Error, Result};

use super::error::first_line;

/// A fault of the set-up.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct NotSetUp {
    message: String,
    /// Whether every later attempt of this process fails too. False if somebody may sign in meanwhile.
    pub(super) is_lasting: bool,
}

impl NotSetUp {
    /// The fault that an error of a credential reports. None if the credential asked a service.
    pub(super) fn of(error: &Error) -> Option<&Self> {
        error.downcast_ref()
    }

    /// The error for a fault that lasts until the process is started again.
    pub(super) fn lasting(message: impl Into<String>) -> Error {
        Self { message: message.into(), is_lasting: true }.into()
    }

    /// The error for a fault that may pass while the process runs.
    pub(super) fn passing(message: impl Into<String>) -> Error {
        Self { message: message.into(), is_lasting: false }.into()
    }
}

impl From<NotSetUp> for Error {
    fn from(fault: NotSetUp) -> Self {
        Self::new(ErrorKind::Credential, fault)
    }
}

/// A credential that could not be constructed. Constructors check settings and variables, and ask no service.
pub(super) fn constructed(credential: Result<Arc<dyn TokenCredential>>) -> Result<Arc<dyn TokenCredential>> {
    credential
        .map_err(|error| if NotSetUp::of(&error).is_some() { error } else { NotSetUp::lasting(error.to_string()) })
}

/// What a credential of the Azure libraries needs on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// A program on PATH that somebody has signed in with, and the command for that.
    Program { name: &'static str, sign_in: &'static str },
    /// A file with a token.
    TokenFile,
}

impl Needs {
    pub(super) const AZURE_CLI: Self = Self::Program { name: "az", sign_in: "az login" };
    pub(super) const DEVELOPER_CLI: Self = Self::Program { name: "azd", sign_in: "azd auth login" };

    /// The error of a credential, as a fault of the set-up if it is one.
    fn explain(self, error: Error, is_on_path: impl Fn(&str) -> bool) -> Error {
        match self {
            Self::Program { name, sign_in } if !is_on_path(name) => {
                NotSetUp::lasting(format!("{name} is not on PATH: install it, and sign in with '{sign_in}'"))
            }
            // The programs name this command if nobody is signed in, or if a sign-in has expired.
            Self::Program { sign_in, .. } if error.to_string().contains(sign_in) => {
                NotSetUp::passing(first_line(&error.to_string()))
            }
            Self::TokenFile if is_missing_file(&error) => NotSetUp::passing(first_line(&error.to_string())),
            _ => error,
        }
    }
}

/// Whether an error was caused by a file that does not exist.
fn is_missing_file(error: &Error) -> bool {
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.downcast_ref::<io::Error>();
        if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether a program is in a directory of PATH.
fn is_on_path(name: &str) -> bool {
    let files = [name.to_owned(), format!("{name}.cmd"), format!("{name}.exe")];
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| files.iter().any(|file| folder.join(file).is_file()))
}

/// A credential that reports faults of the set-up as such.
#[derive(Debug)]
pub(super) struct Explained {
    credential: Arc<dyn TokenCredential>,
    needs: Needs,
}

impl Explained {
    pub(super) fn wrap(credential: Arc<dyn TokenCredential>, needs: Needs) -> Arc<dyn TokenCredential> {
        Arc::new(Self { credential, needs })
    }
}

#[async_trait]
impl TokenCredential for Explained {
    async fn get_token(&self, scopes: &[&str], options: Option<TokenRequestOptions<'_>>) -> Result<AccessToken> {
        let token = self.credential.get_token(scopes, options).await;
        token.map_err(|error| self.needs.explain(error, is_on_path))
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_ports::error::{CREDENTIAL_NOT_SET_UP, ErrorKind as Kind};

    use super::super::error::port_error;
    use super::*;

    fn failed(message: &'static str) -> Error {
        Error::with_message(ErrorKind::Credential, message)
    }

    fn explained(needs: Needs, error: Error, installed: bool) -> (Kind, String, String) {
        let error = port_error("storage", &needs.explain(error, |_| installed));
        (error.kind, error.code, error.message)
    }

    #[test]
    fn a_program_that_is_missing_is_a_fault_of_the_set_up() {
        let (kind, code, message) = explained(Needs::AZURE_CLI, failed("az not found on PATH"), false);
        assert_eq!((kind, code.as_str()), (Kind::Invalid, CREDENTIAL_NOT_SET_UP));
        assert_eq!(message, "storage: no token: az is not on PATH: install it, and sign in with 'az login'");
        let (_, code, message) = explained(Needs::DEVELOPER_CLI, failed("x"), false);
        assert_eq!(code, CREDENTIAL_NOT_SET_UP);
        assert!(message.contains("'azd auth login'"), "{message}");
    }

    /// Somebody may sign in while operations are repeated.
    #[test]
    fn nobody_signed_in_may_pass() {
        let said = "authentication failed. Please run 'az login' to setup account.\nTo troubleshoot, visit …";
        let (kind, code, message) = explained(Needs::AZURE_CLI, failed(said), true);
        assert_eq!((kind, code.as_str()), (Kind::Unavailable, CREDENTIAL_NOT_SET_UP));
        assert_eq!(message, "storage: no token: authentication failed. Please run 'az login' to setup account.");
    }

    #[test]
    fn a_service_that_does_not_answer_is_no_fault_of_the_set_up() {
        let (kind, code, _) = explained(Needs::AZURE_CLI, failed("the connection timed out"), true);
        assert_eq!((kind, code.as_str()), (Kind::Unavailable, "credential-unavailable"));
        let refused = Error::with_error(ErrorKind::Credential, io::Error::from(io::ErrorKind::ConnectionRefused), "no");
        assert_eq!(explained(Needs::TokenFile, refused, true).1, "credential-unavailable");
    }

    #[test]
    fn a_token_file_that_is_missing_is_a_fault_of_the_set_up() {
        let missing = Error::with_error(ErrorKind::Io, io::Error::from(io::ErrorKind::NotFound), "no file");
        let error = Error::with_error(ErrorKind::Credential, missing, "failed to read the token");
        assert_eq!(explained(Needs::TokenFile, error, true).1, CREDENTIAL_NOT_SET_UP);
    }
}
