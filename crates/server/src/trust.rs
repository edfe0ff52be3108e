//! The watch over the CAs of every instance: it warns of certificates that expire and of revocation lists that are
//! stale, and fetches the lists that it is told to fetch.

use std::{sync::Arc, time::Duration};

use certpath::CrlMaxAge;
use model::{CaCertificate, CaReference, Instance, RevocationPolicy, Timestamp, Trust};
use provisioning::{
    Provisioning,
    ports::{Clock, Store},
    trust::Holder,
};
use tokio::task::JoinSet;

use crate::{
    fetches::Fetches,
    metrics::{self, Counts, Expirations},
};

/// How often it looks whether something is due.
const TICK: Duration = Duration::from_secs(30);

/// How often it warns of the same.
const WARN_AGAIN_SECS: i64 = 86_400;

/// How long before its end a certificate is warned of.
const WARN_BEFORE_SECS: i64 = 30 * 86_400;

/// Most warnings of one instance at a time; how many more there are is said in the last.
const MAX_WARNINGS: usize = 20;

/// The watch.
pub(crate) struct AuthorityWatch {
    provisioning: Arc<Provisioning>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    fetches: Fetches,
    warned: Option<Timestamp>,
    expirations: Arc<Expirations>,
}

impl AuthorityWatch {
    /// A watch over these verbs. Lists that are fetched over TLS must come from servers that the system trusts.
    pub(crate) fn new(
        provisioning: Arc<Provisioning>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> AuthorityWatch {
        let fetches = Fetches::new(Arc::clone(&provisioning));
        AuthorityWatch { provisioning, store, clock, fetches, warned: None, expirations: Arc::default() }
    }

    /// Where it shows how much expires.
    pub(crate) fn expirations(&self) -> Arc<Expirations> {
        Arc::clone(&self.expirations)
    }

    /// Starts it; dropping the set ends it.
    pub(crate) fn start(mut self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                self.look().await;
                tokio::time::sleep(TICK).await;
            }
        });
        tasks
    }

    /// Does what is due now.
    pub(crate) async fn look(&mut self) {
        let instances = match self.store.snapshot().await.map(|snapshot| snapshot.instances()) {
            Ok(instances) => instances,
            Err(error) => return tracing::error!(%error, "cannot look after certificates"),
        };
        self.fetches.start(&instances).await;
        let now = self.clock.now();
        if self.warned.is_none_or(|warned| is_over(warned, WARN_AGAIN_SECS, now)) {
            self.warned = Some(now);
            let mut counts = Counts::default();
            for instance in &instances {
                self.warn(instance, now, &mut counts).await;
            }
            self.expirations.set(counts);
        }
    }

    async fn warn(&self, instance: &Instance, now: Timestamp, counts: &mut Counts) {
        let scope = &instance.id_scope;
        match self.provisioning.expiring(instance, now.plus_seconds(WARN_BEFORE_SECS)).await {
            Ok(expiring) => {
                counts.insert(scope.clone(), metrics::count(&expiring));
                for it in expiring.certificates.iter().take(MAX_WARNINGS) {
                    let info = it.certificate.info();
                    tracing::warn!(instance.id_scope = %scope, held_by = holder(&it.holder), subject = info.subject_name, not_after = %info.not_after, "a certificate expires soon, or has expired");
                }
                if expiring.certificates.len() > MAX_WARNINGS {
                    let count = expiring.certificates.len() - MAX_WARNINGS;
                    tracing::warn!(instance.id_scope = %scope, count, "more certificates expire soon: muster certificate list --expiring 30d");
                }
            }
            Err(error) => tracing::error!(%error, "cannot look for certificates that expire"),
        }
        let Ok(trust) = self.provisioning.trust(instance).await else { return };
        for name in without_fresh_list(&trust, (instance.crl_max_age, now)) {
            tracing::warn!(instance.id_scope = %scope, ca.name = %name, "a revocation list is missing or stale");
        }
    }
}

/// CAs with a list that is stale, or without one that is wanted.
fn without_fresh_list(trust: &Trust, (max_age, now): (CrlMaxAge, Timestamp)) -> Vec<CaReference> {
    let is_wanting = |ca: &&Arc<CaCertificate>| {
        let is_wanted =
            !ca.revocation.fetched_from.is_empty() || ca.revocation.policy == RevocationPolicy::Hard;
        let mut lists = trust.lists_of(ca).peekable();
        (is_wanted && lists.peek().is_none()) || lists.any(|list| list.crl.is_stale(max_age, now.into()))
    };
    trust.certificates().filter(is_wanting).map(|ca| ca.name.clone()).collect()
}

fn holder(holder: &Holder) -> String {
    match holder {
        Holder::Ca(name) => format!("CA certificate {name}"),
        Holder::Group(id) => format!("enrollment group {id}"),
        Holder::Individual(id) => format!("enrollment {id}"),
    }
}

fn is_over(since: Timestamp, seconds: i64, now: Timestamp) -> bool {
    now >= since.plus_seconds(seconds)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use durable::Sealer;
    use model::{CaCertificateDraft, CrlAddress, CrlAddresses, IfMatch};
    use provisioning::{
        Ports,
        ports::Unknown,
        trust::{Fetching, RevocationChange},
    };
    use store::EmbeddedStore;
    use testkit::{
        ca::{Authority, Profile},
        clock::SteppedClock,
        crl::{Revocations, Scope},
        entropy::SeededEntropy,
        hub::FakeHubs,
        sample,
        webhook::FakeWebhook,
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Answers each connection with the next of these, and ends.
    async fn publish(answers: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /root.crl HTTP/1.1\r\n"));
                stream.write_all(&answer).await.unwrap();
            }
        });
        format!("http://{address}/root.crl")
    }

    /// A look, and all that it has fetched.
    async fn look(watch: &mut AuthorityWatch) {
        watch.look().await;
        watch.fetches.ended().await;
    }

    fn answer(status: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 {status}\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    async fn set_up(folder: &Path) -> (Arc<dyn Store>, Arc<SteppedClock>, Arc<Provisioning>) {
        let store = EmbeddedStore::open(&folder.join("db"), Sealer::from_key([7; 32])).unwrap();
        let (store, clock): (Arc<dyn Store>, _) = (Arc::new(store), Arc::new(SteppedClock::default()));
        store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
        let provisioning = Arc::new(Provisioning::new(Ports {
            store: store.clone(),
            hubs: Arc::new(FakeHubs::new([])),
            webhook: Arc::new(FakeWebhook::default()),
            topology: Arc::new(Unknown),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(1)),
        }));
        (store, clock, provisioning)
    }

    #[tokio::test]
    async fn counts_what_expires_within_thirty_days() {
        let folder = tempfile::tempdir().unwrap();
        let (store, clock, provisioning) = set_up(folder.path()).await;
        let instance = sample::instance("one");
        for (name, days) in [("soon", 10), ("later", 40)] {
            let not_after = clock.now().plus_seconds(days * 86_400);
            let root = Authority::self_signed(&Profile { not_after, ..Profile::ca(name) });
            let draft = CaCertificateDraft { certificate: root.certificate(), is_verified: None };
            let name = sample::ca_reference(name);
            provisioning
                .put_ca_certificate(&instance, &sample::operator(), (&name, &draft), Some(&IfMatch::Any))
                .await
                .unwrap();
        }
        let mut watch = AuthorityWatch::new(provisioning, store, clock.clone());
        let expirations = watch.expirations();
        assert_eq!(expirations.of(&instance.id_scope), None, "nobody looked yet");
        watch.look().await;
        assert_eq!(expirations.of(&instance.id_scope), Some([1, 0, 0]));
        clock.advance(Duration::from_secs(15 * 86_400));
        watch.look().await;
        assert_eq!(expirations.of(&instance.id_scope), Some([2, 0, 0]));
    }

    #[tokio::test]
    async fn lists_are_fetched_while_they_are_to_be_and_bad_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (store, clock, provisioning) = set_up(folder.path()).await;
        let root = Authority::root("Root");
        let list = |number: u64| Revocations::made_at(number, clock.now().plus_seconds(-60)).signed_by(&root);
        let url = publish(vec![
            answer("200 OK", list(5).der()),
            answer("404 Not Found", b""),
            answer("302 Found", b""),
            answer("200 OK", b"<html>"),
            answer("200 OK", list(4).der()),
            answer("200 OK", list(6).der()),
        ])
        .await;
        let (instance, name) = (sample::instance("one"), sample::ca_reference("root"));
        let draft = CaCertificateDraft { certificate: root.certificate(), is_verified: None };
        provisioning
            .put_ca_certificate(&instance, &sample::operator(), (&name, &draft), Some(&IfMatch::Any))
            .await
            .unwrap();
        let number = async || {
            let trust = provisioning.trust(&instance).await.unwrap();
            trust.lists_under(&name).next().and_then(|list| list.crl.number())
        };
        let last_fetch = async || {
            let ca = provisioning.ca_certificate(&instance, &name).await.unwrap();
            provisioning.last_fetches(&instance, &ca).pop()
        };
        let mut watch = AuthorityWatch::new(Arc::clone(&provisioning), store, clock.clone());
        look(&mut watch).await;
        assert_eq!((number().await, last_fetch().await), (None, None), "nobody asked for it");

        let fetching = Some(Fetching::From(CrlAddress::parse(&url).unwrap().into()));
        let change = RevocationChange { fetching, ..Default::default() };
        provisioning.change_revocation(&instance, &sample::operator(), &name, change).await.unwrap();
        look(&mut watch).await;
        assert_eq!(number().await.as_deref(), Some("05"));
        look(&mut watch).await;
        for (pause, problem) in [
            (3600, "the server answered 404"),
            (300, "the server answered 302"),
            (300, "cannot be read"),
            (300, "is older than"),
        ] {
            clock.advance(Duration::from_secs(pause - 1));
            look(&mut watch).await;
            clock.advance(Duration::from_secs(1));
            look(&mut watch).await;
            assert_eq!(number().await.as_deref(), Some("05"));
            let fetch = last_fetch().await.unwrap();
            assert!(fetch.problem.as_ref().is_some_and(|told| told.contains(problem)), "{fetch:?}");
            assert_eq!((fetch.at, fetch.next()), (clock.now(), clock.now().plus_seconds(300)));
        }
        clock.advance(Duration::from_secs(300));
        look(&mut watch).await;
        assert_eq!(number().await.as_deref(), Some("06"));
        assert_eq!(last_fetch().await.and_then(|fetch| fetch.problem), None);

        let change = RevocationChange { fetching: Some(Fetching::Off), ..Default::default() };
        provisioning.change_revocation(&instance, &sample::operator(), &name, change).await.unwrap();
        look(&mut watch).await;
        assert_eq!(last_fetch().await, None, "what is fetched no more is forgotten");
    }

    /// Of a CA that divides what it revokes; one of the two servers is down.
    #[tokio::test]
    async fn every_address_of_a_ca_is_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let (store, clock, provisioning) = set_up(folder.path()).await;
        let root = Authority::root("Root");
        let made = Revocations::made_at(5, clock.now().plus_seconds(-60));
        let shard = made.covering(Scope::of("http://crl.example/a")).signed_by(&root);
        let (up, down) = (publish(vec![answer("200 OK", shard.der())]).await, "http://127.0.0.1:1/root.crl");
        let (instance, name) = (sample::instance("one"), sample::ca_reference("root"));
        let draft = CaCertificateDraft { certificate: root.certificate(), is_verified: None };
        provisioning
            .put_ca_certificate(&instance, &sample::operator(), (&name, &draft), Some(&IfMatch::Any))
            .await
            .unwrap();
        let addresses = [down, &up].map(|url| CrlAddress::parse(url).unwrap());
        let fetching = Some(Fetching::From(CrlAddresses::new(addresses.clone()).unwrap()));
        let change = RevocationChange { fetching, ..Default::default() };
        provisioning.change_revocation(&instance, &sample::operator(), &name, change).await.unwrap();
        look(&mut AuthorityWatch::new(Arc::clone(&provisioning), store, clock.clone())).await;
        let ca = provisioning.ca_certificate(&instance, &name).await.unwrap();
        let fetches = provisioning.last_fetches(&instance, &ca);
        let outcomes: Vec<_> = fetches.iter().map(|fetch| (&fetch.from, fetch.problem.is_some())).collect();
        assert_eq!(outcomes, [(&addresses[0], true), (&addresses[1], false)]);
        let trust = provisioning.trust(&instance).await.unwrap();
        let warned = |now| without_fresh_list(&trust, (CrlMaxAge::default(), now));
        assert_eq!(warned(clock.now()), []);
        assert_eq!(warned(clock.now().plus_seconds(2 * 86_400)), [name]);
    }

    /// Fetches the lists of a CA from these addresses, in this order.
    async fn fetch_from(
        provisioning: &Provisioning,
        (scope, name): (&str, &str),
        ca: &Authority,
        urls: Vec<String>,
    ) {
        let (instance, name) = (sample::instance(scope), sample::ca_reference(name));
        let draft = CaCertificateDraft { certificate: ca.certificate(), is_verified: None };
        provisioning
            .put_ca_certificate(&instance, &sample::operator(), (&name, &draft), Some(&IfMatch::Any))
            .await
            .unwrap();
        let addresses = urls.iter().map(|url| CrlAddress::parse(url).unwrap());
        let fetching = Some(Fetching::From(CrlAddresses::new(addresses).unwrap()));
        let change = RevocationChange { fetching, ..Default::default() };
        provisioning.change_revocation(&instance, &sample::operator(), &name, change).await.unwrap();
    }

    /// A server that hangs holds up no list from another one, be that of another instance, of another CA, or of another
    /// distribution point of the same CA.
    #[tokio::test]
    async fn a_server_that_hangs_holds_up_no_list_from_another() {
        for served in [("two", "second"), ("one", "second"), ("one", "first")] {
            let folder = tempfile::tempdir().unwrap();
            let (store, clock, provisioning) = set_up(folder.path()).await;
            store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
            let [first, second] = ["First", "Second"].map(Authority::root);
            let ca = if served.1 == "first" { &first } else { &second };
            let list = Revocations::made_at(5, clock.now().plus_seconds(-60)).signed_by(ca);
            let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let hanging = format!("http://{}/root.crl", hangs.local_addr().unwrap());
            let serving = publish(vec![answer("200 OK", list.der())]).await;
            if served == ("one", "first") {
                fetch_from(&provisioning, served, ca, vec![hanging, serving]).await;
            } else {
                fetch_from(&provisioning, ("one", "first"), &first, vec![hanging]).await;
                fetch_from(&provisioning, served, ca, vec![serving]).await;
            }
            let mut watch = AuthorityWatch::new(Arc::clone(&provisioning), store, clock.clone());
            let (_open, _) = tokio::join!(hangs.accept(), watch.look());
            let (instance, name) = (sample::instance(served.0), sample::ca_reference(served.1));
            let fetched = async || {
                let trust = provisioning.trust(&instance).await.unwrap();
                trust.lists_under(&name).next().is_some()
            };
            let waited = async {
                while !fetched().await {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(8), waited).await.expect(served.1);
            watch.look().await;
            let instance = sample::instance("one");
            let ca = provisioning.ca_certificate(&instance, &sample::ca_reference("first")).await.unwrap();
            let from_hanging = provisioning.last_fetches(&instance, &ca);
            assert!(from_hanging.iter().all(|fetch| fetch.problem.is_none()), "it is still being fetched");
        }
    }

    /// However many servers hang, no more of one instance are asked at once.
    #[tokio::test]
    async fn servers_asked_at_once_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (store, clock, provisioning) = set_up(folder.path()).await;
        let mut listeners = Vec::new();
        for _ in 0..6 {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let url = |listener: &TcpListener| format!("http://{}/root.crl", listener.local_addr().unwrap());
        let urls = listeners.iter().map(url).collect();
        fetch_from(&provisioning, ("one", "first"), &Authority::root("First"), urls).await;
        let mut watch = AuthorityWatch::new(Arc::clone(&provisioning), store, clock);
        watch.look().await;
        watch.look().await;
        let mut asked = Vec::new();
        for listener in &listeners {
            asked.extend(tokio::time::timeout(Duration::from_millis(500), listener.accept()).await);
        }
        assert_eq!(asked.len(), 4);
    }
}
