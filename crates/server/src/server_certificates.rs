//! The server certificates: warns of problems, and loads renewed files without a restart.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use model::{Certificate, Timestamp};
use net::{CancellationToken, tls};
use provisioning::ports::Clock;

use crate::config::{Config, TlsIdentityConfig};

/// The interval at which the files are read.
const INTERVAL: Duration = Duration::from_secs(60);

/// The time before expiry from which on warnings are logged.
const WARN_BEFORE_SECS: i64 = 30 * 86_400;

/// The interval of repeated warnings.
const WARN_AGAIN_SECS: i64 = 86_400;

/// The certificates that the server sends in handshakes.
pub struct ServerCertificates {
    identities: tls::Identities,
    /// The host names in the configuration, which each certificate must cover.
    hosts: BTreeSet<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The source files, in order; empty for certificates that are never renewed.
    files: Vec<TlsIdentityConfig>,
    warned: Option<Timestamp>,
    /// Why the files could not be loaded the last time.
    refused: Option<String>,
}

impl ServerCertificates {
    /// Reads the certificates of a configuration. Fails if one is missing or malformed.
    pub(crate) fn of(config: &Config) -> anyhow::Result<ServerCertificates> {
        let certificates = ServerCertificates::fixed(read(&config.tls_identities)?)?;
        let state = State { files: config.tls_identities.clone(), ..State::default() };
        Ok(ServerCertificates { hosts: hosts(config), state: Mutex::new(state), ..certificates })
    }

    /// Wraps certificates that are never renewed.
    pub(crate) fn fixed(identities: Vec<tls::Identity>) -> anyhow::Result<ServerCertificates> {
        let identities = tls::Identities::new(identities)?;
        Ok(ServerCertificates { identities, hosts: BTreeSet::new(), state: Mutex::default() })
    }

    /// Returns the identities for the listeners.
    pub(crate) fn identities(&self) -> &tls::Identities {
        &self.identities
    }

    /// Returns the subject and the expiry of each, in order.
    pub(crate) fn expiries(&self) -> Vec<(String, Timestamp)> {
        let certificates = self.identities.current();
        let leaves = certificates.iter().filter_map(leaf);
        leaves.map(|leaf| (leaf.info().subject_name.clone(), leaf.info().not_after)).collect()
    }

    /// Returns the problems of the certificates, now or within 30 days.
    pub(crate) fn problems(&self, now: Timestamp) -> Vec<String> {
        problems(&self.identities.current(), &self.hosts, now)
    }

    /// Loads these files, and reads them from now on. Fails, and changes nothing, if one is malformed.
    pub(crate) fn read_from(&self, files: &[TlsIdentityConfig]) -> anyhow::Result<()> {
        let identities = read(files)?;
        self.lock().files = files.to_vec();
        self.load(identities)
    }

    /// Loads renewed files and logs problems, every minute until `shutdown`.
    pub(crate) async fn watch(self: Arc<Self>, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
        loop {
            self.refresh(clock.now());
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Loads changed files once. If they are not usable, for example while only the certificate or the key is written, the
    /// server keeps the previous ones.
    pub(crate) fn refresh(&self, now: Timestamp) {
        let files = self.lock().files.clone();
        let loaded = if files.is_empty() { Ok(()) } else { read(&files).and_then(|it| self.load(it)) };
        let refused = loaded.err().map(|error| format!("{error:#}"));
        let mut state = self.lock();
        if let Some(reason) = refused.as_ref().filter(|_| refused != state.refused) {
            tracing::warn!(reason, "cannot reload the server certificates; the previous ones stay in use");
        }
        state.refused = refused;
        if state.warned.is_none_or(|warned| now >= warned.plus_seconds(WARN_AGAIN_SECS)) {
            state.warned = Some(now);
            for problem in self.problems(now) {
                tracing::warn!(problem, "a server certificate has a problem; renew it");
            }
        }
    }

    fn load(&self, identities: Vec<tls::Identity>) -> anyhow::Result<()> {
        let shown = self.identities.current();
        if shown.iter().map(tls::Identity::chain).eq(identities.iter().map(tls::Identity::chain)) {
            return Ok(());
        }
        self.identities.replace(identities)?;
        self.lock().warned = None;
        tracing::info!("renewed server certificates are in use");
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the problems of the certificates of a configuration, now or within 30 days.
pub(crate) fn check(config: &Config, now: Timestamp) -> anyhow::Result<Vec<String>> {
    Ok(problems(&read(&config.tls_identities)?, &hosts(config), now))
}

fn read(files: &[TlsIdentityConfig]) -> anyhow::Result<Vec<tls::Identity>> {
    let read = |identity: &TlsIdentityConfig| {
        tls::Identity::from_pem_files(&identity.certificate, &identity.key).context("[[tls]]")
    };
    files.iter().map(read).collect()
}

fn hosts(config: &Config) -> BTreeSet<String> {
    let service = config.instances.iter().flat_map(|instance| &instance.service_hosts);
    let hubs = config.embedded_hubs.iter().map(|hub| hub.host_name.to_string());
    service.map(ToString::to_string).chain(hubs).collect()
}

fn leaf(identity: &tls::Identity) -> Option<Certificate> {
    identity.chain().first().and_then(|der| Certificate::from_der(der).ok())
}

/// Returns the problems. Each certificate must cover every host name, because the client's algorithms choose between them.
fn problems(identities: &[tls::Identity], hosts: &BTreeSet<String>, now: Timestamp) -> Vec<String> {
    let mut problems = Vec::new();
    for identity in identities {
        let Some(leaf) = leaf(identity) else {
            problems.push("a server certificate cannot be parsed".to_owned());
            continue;
        };
        let info = leaf.info();
        let (name, not_before, not_after) = (&info.subject_name, info.not_before, info.not_after);
        if now > not_after {
            problems.push(format!("the server certificate {name} expired at {not_after}"));
        } else if now.plus_seconds(WARN_BEFORE_SECS) > not_after {
            problems.push(format!("the server certificate {name} expires at {not_after}"));
        }
        if now < not_before {
            problems.push(format!("the server certificate {name} is not valid before {not_before}"));
        }
        for host in hosts.iter().filter(|host| !identity.covers(host)) {
            problems.push(format!("the server certificate {name} is not for the host name {host}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// Writes a self-signed certificate for this name, valid in 2026 until the first of this month.
    fn write(dir: &Path, name: &str, until_month: u8) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, until_month, 1);
        std::fs::write(dir.join("pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(dir.join("key"), key.serialize_pem()).unwrap();
    }

    fn in_folder(dir: &Path) -> ServerCertificates {
        let files = [TlsIdentityConfig { certificate: dir.join("pem"), key: dir.join("key") }];
        let fixed = ServerCertificates::fixed(read(&files).unwrap()).unwrap();
        let hosts = ["dps.plant.example".to_owned(), "*.x".to_owned()].into_iter().take(1).collect();
        let state = State { files: files.into(), ..State::default() };
        ServerCertificates { hosts, state: Mutex::new(state), ..fixed }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn problems_are_reported_from_thirty_days_before() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, now: &str, expected: &[&str]| {
            write(dir.path(), name, 6);
            let problems = in_folder(dir.path()).problems(at(now));
            assert_eq!(problems.len(), expected.len(), "{name} {now}: {problems:?}");
            assert!(
                problems.iter().zip(expected).all(|(it, expected)| it.contains(expected)),
                "{problems:?}"
            );
        };
        check("dps.plant.example", "2026-04-01T00:00:00Z", &[]);
        check("*.plant.example", "2026-04-01T00:00:00Z", &[]);
        check("dps.plant.example", "2026-05-20T00:00:00Z", &["expires at 2026-06-01"]);
        check("dps.plant.example", "2026-06-20T00:00:00Z", &["expired at"]);
        check("dps.plant.example", "2025-12-20T00:00:00Z", &["not valid before"]);
        check("other.example", "2026-04-01T00:00:00Z", &["not for the host name dps.plant.example"]);
        check("other.example", "2026-06-20T00:00:00Z", &["expired", "host name"]);
    }

    #[test]
    fn renewed_files_are_loaded_once_both_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let now = at("2026-05-20T00:00:00Z");
        write(dir.path(), "dps.plant.example", 6);
        let certificates = in_folder(dir.path());
        let before = certificates.identities().current();
        certificates.refresh(now);
        assert!(Arc::ptr_eq(&before, &certificates.identities().current()), "no file was renewed");
        let old_key = std::fs::read(dir.path().join("key")).unwrap();
        write(dir.path(), "dps.plant.example", 12);
        let new_key = std::fs::read(dir.path().join("key")).unwrap();
        std::fs::write(dir.path().join("key"), old_key).unwrap();
        certificates.refresh(now);
        assert!(certificates.problems(now)[0].contains("2026-06-01"), "only half is written");
        std::fs::write(dir.path().join("key"), new_key).unwrap();
        certificates.refresh(now);
        assert_eq!(certificates.problems(now), [""; 0]);
        assert!(certificates.expiries()[0].1 > at("2026-11-30T00:00:00Z"));
    }
}
