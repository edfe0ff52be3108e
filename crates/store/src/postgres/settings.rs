//! How the database is reached.

use std::{fmt, str::FromStr, time::Duration};

use net::tls::{Roots, TlsError};
use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long one address may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long sent data may stay unacknowledged, and a silent connection unprobed, before it counts as lost.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// How the database is reached. Has no `Display`, and its `Debug` shows no password.
#[derive(Clone)]
pub struct Settings {
    pub(super) config: Config,
    /// Absent where TLS is switched off, or the server is reached through a socket of this machine.
    pub(super) tls: Option<MakeRustlsConnect>,
}

/// Why settings are none.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The URL does not begin with `postgres://` or `postgresql://`, or is not a URL of PostgreSQL.
    #[error("not a URL of a PostgreSQL database: {0}")]
    Url(String),
    /// It names no host.
    #[error("the URL of the database names no host")]
    NoHost,
    /// It names no database.
    #[error("the URL of the database names no database: add /NAME after the host")]
    NoDatabase,
    /// The CA certificates cannot be used.
    #[error("the CA certificates of the database: {0}")]
    Tls(#[from] TlsError),
}

impl Settings {
    /// Reads a URL as `libpq` does: several hosts, `sslmode` and `target_session_attrs` among the parameters. The server must
    /// offer TLS with a certificate of the system's CAs, unless `sslmode` is `disable` or the host is a folder with a socket.
    /// Of several hosts, the one that takes writes is used.
    pub fn parse(url: &str) -> Result<Settings, SettingsError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(SettingsError::Url("it begins with postgres://".to_owned()));
        }
        // The reason is in the source; the text of the URL, which may have a password, is in neither.
        let config = Config::from_str(url).map_err(|error| SettingsError::Url(reason(&error)))?;
        let is_local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let needs_tls = !is_local && config.get_ssl_mode() != SslMode::Disable;
        let tls = match needs_tls {
            true => Some(connector(&Roots::of_system()?)?),
            false => None,
        };
        let mut settings = Settings { config, tls };
        settings.check()?;
        settings.config.ssl_mode(if needs_tls { SslMode::Require } else { SslMode::Disable });
        settings.set_limits();
        Ok(settings)
    }

    /// Accepts servers of these CA certificates (PEM) and no others, where TLS is used.
    pub fn with_ca(self, pem: &[u8]) -> Result<Settings, SettingsError> {
        let roots = connector(&Roots::from_pem(pem)?)?;
        Ok(Settings { tls: self.tls.map(|_| roots), ..self })
    }

    /// Logs in with this password, which takes the place of one in the URL.
    #[must_use]
    pub fn with_password(mut self, password: &[u8]) -> Settings {
        self.config.password(password);
        self
    }

    /// Returns whether there is a password to log in with.
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// Returns the addresses and the name of the database, for people.
    pub fn address(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                #[cfg(unix)]
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        });
        let hosts: Vec<String> = hosts.collect();
        format!("{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or_default())
    }

    fn check(&self) -> Result<(), SettingsError> {
        if self.config.get_hosts().is_empty() {
            return Err(SettingsError::NoHost);
        }
        self.config.get_dbname().map(drop).ok_or(SettingsError::NoDatabase)
    }

    fn set_limits(&mut self) {
        self.config
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(TCP_TIMEOUT)
            .keepalives_idle(TCP_TIMEOUT)
            .keepalives_interval(Duration::from_secs(1))
            .keepalives_retries(3)
            // One that hangs is not the first for every connection.
            .load_balance_hosts(LoadBalanceHosts::Random)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .application_name("muster");
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settings").field(&self.address()).finish()
    }
}

fn connector(roots: &Roots) -> Result<MakeRustlsConnect, TlsError> {
    Ok(MakeRustlsConnect::new((*roots.client_config(None)?).clone()))
}

/// Returns the innermost reason of an error: the outer ones only repeat what failed.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.last().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_hosts_and_a_database() {
        let settings = Settings::parse("postgres://m:secret@one,two:5433/muster?sslmode=disable").unwrap();
        assert_eq!(settings.address(), "one:5432,two:5433/muster");
        assert_eq!(settings.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        for (url, part) in [
            ("mysql://one/muster", "begins with postgres://"),
            ("postgres://one", "names no database"),
            ("postgres:///muster", "names no host"),
            ("postgres://one/muster?sslmode=sometimes", "sslmode"),
        ] {
            let error = Settings::parse(url).unwrap_err().to_string();
            assert!(error.contains(part), "{url}: {error}");
        }
    }

    #[test]
    fn tls_is_required_unless_it_is_switched_off() {
        let mode = |url: &str| Settings::parse(url).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://one/muster?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://%2Frun%2Fpostgresql/muster"), SslMode::Disable);
        assert_eq!(mode("postgres://one/muster"), SslMode::Require);
        assert_eq!(mode("postgres://one/muster?sslmode=prefer"), SslMode::Require);
    }

    #[test]
    fn the_password_is_not_shown() {
        let settings = Settings::parse("postgres://m:first@one/muster?sslmode=disable").unwrap();
        let settings = settings.with_password(b"second");
        assert_eq!(format!("{settings:?}"), r#"Settings("one:5432/muster")"#);
        let error = Settings::parse("postgres://m:first@one:port/muster").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("first"), "{error:?}");
    }
}
