//! The server's own certificates: whether they are good, and that renewed files are taken up without a restart.

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

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(60);

/// How long before its end a certificate is warned of, and how often.
const WARN_BEFORE_SECS: i64 = 30 * 86_400;
const WARN_AGAIN_SECS: i64 = 86_400;

/// The certificates that the server shows.
pub struct ServerCertificates {
    identities: tls::Identities,
    /// The names that clients connect to, as far as the configuration says.
    hosts: BTreeSet<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where they come from, in their order; nowhere for those that are never renewed.
    files: Vec<TlsIdentityConfig>,
    warned: Option<Timestamp>,
    /// Why the files could not be taken up the last time.
    refused: Option<String>,
}

impl ServerCertificates {
    /// Those that a configuration names.
    pub(crate) fn of(config: &Config) -> anyhow::Result<ServerCertificates> {
        let certificates = ServerCertificates::fixed(read(&config.tls_identities)?)?;
        let state = State { files: config.tls_identities.clone(), ..State::default() };
        Ok(ServerCertificates { hosts: hosts(config), state: Mutex::new(state), ..certificates })
    }

    /// These, which are never renewed.
    pub(crate) fn fixed(identities: Vec<tls::Identity>) -> anyhow::Result<ServerCertificates> {
        let identities = tls::Identities::new(identities)?;
        Ok(ServerCertificates { identities, hosts: BTreeSet::new(), state: Mutex::default() })
    }

    /// For the listeners.
    pub(crate) fn identities(&self) -> &tls::Identities {
        &self.identities
    }

    /// When each ends, in their order, with the subject.
    pub(crate) fn ends(&self) -> Vec<(String, Timestamp)> {
        let certificates = self.identities.current();
        let leaves = certificates.iter().filter_map(leaf);
        leaves.map(|leaf| (leaf.info().subject_name.clone(), leaf.info().not_after)).collect()
    }

    /// What is wrong with them, or will be within 30 days.
    pub(crate) fn problems(&self, now: Timestamp) -> Vec<String> {
        problems(&self.identities.current(), &self.hosts, now)
    }

    /// Reads these files from now on, and takes up what they hold.
    pub(crate) fn read_from(&self, files: &[TlsIdentityConfig]) -> anyhow::Result<()> {
        let identities = read(files)?;
        self.lock().files = files.to_vec();
        self.take_up(identities)
    }

    /// Takes renewed files up and warns of what is wrong, every minute until `shutdown`.
    pub(crate) async fn watch(self: Arc<Self>, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
        loop {
            self.look(clock.now());
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// One look at the files. Where they cannot be used, as while only one of certificate and key is written yet, the server
    /// goes on with what it has.
    pub(crate) fn look(&self, now: Timestamp) {
        let files = self.lock().files.clone();
        let taken_up = if files.is_empty() { Ok(()) } else { read(&files).and_then(|it| self.take_up(it)) };
        let refused = taken_up.err().map(|error| format!("{error:#}"));
        let mut state = self.lock();
        if let Some(reason) = refused.as_ref().filter(|_| refused != state.refused) {
            tracing::warn!(reason, "the server's certificates cannot be read again; the old ones stay");
        }
        state.refused = refused;
        if state.warned.is_none_or(|warned| now >= warned.plus_seconds(WARN_AGAIN_SECS)) {
            state.warned = Some(now);
            for problem in self.problems(now) {
                tracing::warn!(problem, "a certificate of the server needs attention");
            }
        }
    }

    fn take_up(&self, identities: Vec<tls::Identity>) -> anyhow::Result<()> {
        let shown = self.identities.current();
        if shown.iter().map(tls::Identity::chain).eq(identities.iter().map(tls::Identity::chain)) {
            return Ok(());
        }
        self.identities.replace(identities)?;
        self.lock().warned = None;
        tracing::info!("the server shows renewed certificates");
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with the certificates that a configuration names, or will be within 30 days.
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

/// Which client is shown which certificate depends on the client, so each must cover every name.
fn problems(identities: &[tls::Identity], hosts: &BTreeSet<String>, now: Timestamp) -> Vec<String> {
    let mut problems = Vec::new();
    for identity in identities {
        let Some(leaf) = leaf(identity) else {
            problems.push("a certificate of the server cannot be read".to_owned());
            continue;
        };
        let info = leaf.info();
        let (name, not_before, not_after) = (&info.subject_name, info.not_before, info.not_after);
        if now > not_after {
            problems.push(format!("the server's certificate {name} expired at {not_after}"));
        } else if now.plus_seconds(WARN_BEFORE_SECS) > not_after {
            problems.push(format!("the server's certificate {name} expires at {not_after}"));
        }
        if now < not_before {
            problems.push(format!("the server's certificate {name} is not valid before {not_before}"));
        }
        for host in hosts.iter().filter(|host| !identity.covers(host)) {
            problems.push(format!("the server's certificate {name} is not for the host name {host}"));
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
    fn what_is_wrong_is_told_thirty_days_before() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, now: &str, expected: &[&str]| {
            write(dir.path(), name, 6);
            let told = in_folder(dir.path()).problems(at(now));
            assert_eq!(told.len(), expected.len(), "{name} {now}: {told:?}");
            assert!(told.iter().zip(expected).all(|(told, expected)| told.contains(expected)), "{told:?}");
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
    fn renewed_files_are_taken_up_whole() {
        let dir = tempfile::tempdir().unwrap();
        let now = at("2026-05-20T00:00:00Z");
        write(dir.path(), "dps.plant.example", 6);
        let certificates = in_folder(dir.path());
        let before = certificates.identities().current();
        certificates.look(now);
        assert!(Arc::ptr_eq(&before, &certificates.identities().current()), "nothing was renewed");
        let old_key = std::fs::read(dir.path().join("key")).unwrap();
        write(dir.path(), "dps.plant.example", 12);
        let new_key = std::fs::read(dir.path().join("key")).unwrap();
        std::fs::write(dir.path().join("key"), old_key).unwrap();
        certificates.look(now);
        assert!(certificates.problems(now)[0].contains("2026-06-01"), "only half is written");
        std::fs::write(dir.path().join("key"), new_key).unwrap();
        certificates.look(now);
        assert_eq!(certificates.problems(now), [""; 0]);
        assert!(certificates.ends()[0].1 > at("2026-11-30T00:00:00Z"));
    }
}
