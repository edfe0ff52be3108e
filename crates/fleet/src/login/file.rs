//! The tokens of a login, in a file that only its owner can read. Several commands may use it at once.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use model::HostPort;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};
use wire::oidc::{TokenRefusal, Tokens};

use super::{LoginError, LoginSettings, Provider};
use crate::{clock::expiry_after, trust::Trust};

/// The name of the file, and that of its lock. The lock is never deleted: two commands must not lock two files.
const FILE: &str = "login.json";
const LOCK: &str = "login.lock";

/// The length of a file with tokens of the greatest length, in bytes.
const MAX_LOGIN_BYTES: u64 = 128 * 1024;

/// An access token that expires within this time is renewed, so that it outlives the request.
const MIN_REMAINING: Duration = Duration::from_secs(30);

/// The lifetime of an access token of which the provider does not tell it.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);

/// How long a command waits for another one that renews the tokens: longer than both exchanges with the provider may take.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(70);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// The tokens of an operator, and what they are for. Has no `Debug`, because tokens are secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// Where the operator logged in.
    #[serde(flatten)]
    pub settings: LoginSettings,
    /// The file with the CA certificates of the provider; `None` for those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ca: Option<PathBuf>,
    /// The services that may get the token. Commands call the first one unless they name another.
    pub services: Vec<HostPort>,
    /// The file with the CA certificates of the services; `None` for those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    access_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// When the access token expires, in seconds since 1970.
    expires: u64,
}

/// Where the login of a user is.
#[derive(Clone, Debug)]
pub struct LoginFile {
    folder: PathBuf,
}

impl Login {
    /// Makes a login of settings and new tokens.
    pub fn new(
        settings: LoginSettings,
        services: Vec<HostPort>,
        (issuer_ca, ca): (Option<PathBuf>, Option<PathBuf>),
        tokens: Tokens,
    ) -> Login {
        let empty = String::new();
        let login =
            Login { settings, issuer_ca, services, ca, access_token: empty, refresh_token: None, expires: 0 };
        login.with(tokens)
    }

    /// Returns the service that a command calls: the named one, or else the first one.
    pub fn service(&self, named: Option<&HostPort>) -> Result<HostPort, LoginError> {
        match named {
            Some(named) if self.services.contains(named) => Ok(named.clone()),
            Some(other) => Err(LoginError::OtherService(other.to_string())),
            None => self.services.first().cloned().ok_or(LoginError::None),
        }
    }

    /// Revokes the tokens at the provider.
    pub async fn revoke(&self) -> Result<(), LoginError> {
        let provider = self.provider().await?;
        // The end of a refresh token ends the access tokens that it led to, where the provider can end these (RFC 7009 §2.1).
        provider.revoke(self.refresh_token.as_ref().unwrap_or(&self.access_token)).await
    }

    /// Returns the trust anchors for a provider whose CA certificates are in a file, or are those of the system.
    pub fn trust(ca: Option<&Path>) -> Result<Trust, LoginError> {
        let Some(path) = ca else {
            return Trust::of_system()
                .map_err(|error| file_error(Path::new("system"), io::Error::other(error)));
        };
        let pem = fs::read(path).map_err(|error| file_error(path, error))?;
        Trust::from_pem(&pem).map_err(|error| file_error(path, io::Error::other(error)))
    }

    async fn provider(&self) -> Result<Provider, LoginError> {
        Provider::discover(self.settings.clone(), Login::trust(self.issuer_ca.as_deref())?).await
    }

    fn is_fresh(&self) -> bool {
        self.expires > expiry_after(MIN_REMAINING)
    }

    async fn refreshed(self) -> Result<Login, LoginError> {
        let refresh_token = self.refresh_token.as_deref();
        let refresh_token = refresh_token
            .ok_or_else(|| LoginError::Expired("the provider issued no refresh token".into()))?;
        let tokens = match self.provider().await?.refresh(refresh_token).await {
            Err(LoginError::Refused(TokenRefusal::Grant(reason))) => return Err(LoginError::Expired(reason)),
            tokens => tokens?,
        };
        Ok(self.with(tokens))
    }

    /// Replaces the tokens. A refresh token that the provider does not replace stays valid (RFC 6749 §6).
    fn with(self, tokens: Tokens) -> Login {
        let expires = expiry_after(tokens.lifetime.unwrap_or(DEFAULT_LIFETIME));
        let refresh_token = tokens.refresh_token.or(self.refresh_token);
        Login { access_token: tokens.access_token, refresh_token, expires, ..self }
    }
}

impl LoginFile {
    /// Returns the file in a folder, which need not exist.
    pub fn new(folder: PathBuf) -> LoginFile {
        LoginFile { folder }
    }

    /// Returns its path.
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Reads the login, if there is one.
    pub fn read(&self) -> Result<Option<Login>, LoginError> {
        let path = self.path();
        let read = || -> io::Result<Option<Login>> {
            let file = match File::open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            let mut text = Vec::new();
            file.take(MAX_LOGIN_BYTES).read_to_end(&mut text)?;
            // The error of the parser could have a part of a token.
            let parsed = serde_json::from_slice(&text);
            parsed
                .map(Some)
                .map_err(|_| io::Error::other("is not the file of a login; muster login replaces it"))
        };
        read().map_err(|error| file_error(&path, error))
    }

    /// Writes a new login.
    pub async fn write(&self, login: &Login) -> Result<(), LoginError> {
        let _lock = self.lock().await?;
        self.replace(login)
    }

    /// Removes the login and returns it, if there is one. A file that cannot be read is removed, too.
    pub async fn remove(&self) -> Result<Option<Login>, LoginError> {
        if !self.path().exists() {
            return Ok(None);
        }
        let _lock = self.lock().await?;
        let login = self.read();
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(file_error(&self.path(), error)),
            _ => login,
        }
    }

    /// Returns an access token for a service, which is renewed at the provider if it is about to expire. Of commands that need a new
    /// one at once, one gets it: a refresh token may be valid only once. Fails if another login, for other services, has replaced the
    /// one that the command began with.
    pub async fn access_token(&self, service: &HostPort) -> Result<String, LoginError> {
        let fresh = |login: Option<Login>| -> Result<_, LoginError> {
            let login = login.ok_or(LoginError::None)?;
            login.service(Some(service))?;
            Ok((login.is_fresh(), login))
        };
        let (is_fresh, login) = fresh(self.read()?)?;
        if is_fresh {
            return Ok(login.access_token);
        }
        let _lock = self.lock().await?;
        let (is_fresh, login) = fresh(self.read()?)?;
        if is_fresh {
            return Ok(login.access_token);
        }
        let login = login.refreshed().await?;
        self.replace(&login)?;
        Ok(login.access_token)
    }

    /// Replaces the file whole: readers find the old one or the new one.
    fn replace(&self, login: &Login) -> Result<(), LoginError> {
        let replace = || -> io::Result<()> {
            // With mode 0600.
            let mut file = NamedTempFile::new_in(&self.folder)?;
            file.write_all(&serde_json::to_vec_pretty(login)?)?;
            file.as_file().sync_all()?;
            file.persist(self.path())?;
            Ok(())
        };
        replace().map_err(|error| file_error(&self.path(), error))
    }

    /// Waits until no other command writes the file. The lock ends with the value, or with the process.
    async fn lock(&self) -> Result<File, LoginError> {
        let path = self.folder.join(LOCK);
        let file = self.open_lock(&path).map_err(|error| file_error(&path, error))?;
        let deadline = Instant::now() + MAX_LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(file_error(&path, error)),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    return Err(LoginError::Locked(MAX_LOCK_WAIT));
                }
                Err(TryLockError::WouldBlock) => sleep(LOCK_INTERVAL).await,
            }
        }
    }

    fn open_lock(&self, path: &Path) -> io::Result<File> {
        let mut folder = fs::DirBuilder::new();
        let mut lock = fs::OpenOptions::new();
        lock.create(true).truncate(false).write(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
            folder.mode(0o700);
            lock.mode(0o600);
        }
        folder.recursive(true).create(&self.folder)?;
        lock.open(path)
    }
}

fn file_error(path: &Path, source: io::Error) -> LoginError {
    LoginError::File { path: path.to_owned(), source }
}
