//! Logins of operators at an OpenID provider: the provider's side in [`Provider`], and the tokens on disk in [`LoginFile`].

mod browser;
mod error;
mod file;
mod provider;

pub use browser::BrowserLogin;
pub use error::LoginError;
pub use file::{Login, LoginFile};
pub use provider::{LoginSettings, Provider};
