//! What it costs to refuse certificates that a stranger made, in microseconds: by what they claim, and by how many groups
//! there are. `cargo run --release -p provisioning --example refusals`
//!
//! Everything between the handshake and the refusal is in it: reading the certificates, looking up groups, and judging. The
//! explanation that is kept of a refused attempt is not; it is of at most twenty groups, however many there are. All groups of
//! both kinds name the trusted CA, so each is an end of paths.

#![expect(clippy::unwrap_used, reason = "an example ends when something is wrong")]

use std::{sync::Arc, time::Instant};

use certpath::CrlMaxAge;
use durable::Sealer;
use model::{Certificate, EnrollmentGroup, GroupAttestation, GroupCertificates, Pair, Timestamp};
use provisioning::{
    attest::{
        self, Claimant, Evidence,
        x509::{CaRules, parse_chain},
    },
    ports::{Change, Commit, Commits, Expect, InstanceWriter, Instances},
};
use store::EmbeddedStore;
use testkit::{
    ca::{Authority, KeyKind, Profile},
    sample,
};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_392_000);
const ROUNDS: u32 = 300;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let trusted = [KeyKind::P256, KeyKind::P521, KeyKind::Rsa2048].map(|key| (key, ca("Root", key)));
    println!("{:28}{:>10}{:>10}{:>12}{:>12}", "µs per refusal", "groups", "key", "mean", "best");
    for groups in [1, 1000] {
        for (key, root) in &trusted {
            let directory = tempfile::tempdir().unwrap();
            let store =
                EmbeddedStore::open(&directory.path().join("store.db"), Sealer::from_key([7; 32])).unwrap();
            fill(&store, root, groups).await;
            for (name, chain) in strangers() {
                let (mean, best) = measure(&store, &chain).await;
                println!("{name:28}{groups:>10}{:>10}{mean:>12.0}{best:>12.0}", format!("{key:?}"));
            }
        }
    }
}

fn ca(name: &str, key: KeyKind) -> Authority {
    Authority::self_signed(&Profile { key, ..Profile::ca(name) })
}

/// Groups of both kinds, all of the trusted CA.
async fn fill(store: &EmbeddedStore, root: &Authority, count: usize) {
    let scope = sample::scope("0ne00000A0A");
    store.put_instance(sample::instance("0ne00000A0A"), sample::by()).await.unwrap();
    let own = root.certificate();
    let put = |change| Commit { changes: vec![(Expect::Anything, change)], ..Commit::by(sample::by()) };
    let certificate = Change::PutCertificate(Box::new(sample::ca_certificate("root", &own)));
    store.commit(&scope, put(certificate)).await.unwrap();
    for at in 0..count {
        let signing = |certificate: &Certificate| Pair::new(Some(certificate.clone()), None).unwrap();
        let signing = GroupCertificates::Signing(signing(&own));
        let name = sample::ca_reference("root");
        let naming = GroupCertificates::CaReferences(Pair::new(Some(name), None).unwrap());
        for (kind, certificates) in [("signing", signing), ("naming", naming)] {
            let attestation = GroupAttestation::X509(certificates);
            let group = EnrollmentGroup { attestation, ..sample::group(&format!("{kind}-{at}")) };
            store.commit(&scope, put(Change::PutGroup(Box::new(group)))).await.unwrap();
        }
    }
}

fn strangers() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let ten = |name: &str, key| {
        let first = ca(name, key);
        let again = |at: i64| {
            let not_before = Timestamp::from_unix_seconds(NOW.unix_seconds() - 1 - at);
            first.reissued(&Profile { not_before, key, ..Profile::ca(name) })
        };
        (0..9).map(again).collect::<Vec<_>>()
    };
    let with_leaf = |key, name: &str| {
        let first = ca(name, key);
        let leaf = first.device("dev-1").der().to_vec();
        [vec![leaf], ten(name, key)].concat()
    };
    let mut line = ca("Root", KeyKind::P521).intermediate("1");
    for at in 2..9 {
        line = line.intermediate(&at.to_string());
    }
    let mut line = line.chain_of(&line.device("dev-1"));
    line.truncate(9);
    vec![
        ("ten of an unknown name", with_leaf(KeyKind::P521, "Stranger")),
        ("ten of the trusted name, P521", with_leaf(KeyKind::P521, "Root")),
        ("ten of the trusted name, P256", with_leaf(KeyKind::P256, "Root")),
        ("a line of nine", line),
        ("a leaf of the trusted name", with_leaf(KeyKind::P521, "Root")[..1].to_vec()),
    ]
}

async fn measure(store: &EmbeddedStore, chain: &[Vec<u8>]) -> (f64, f64) {
    let certificates: Vec<_> = chain.iter().map(|der| der.clone().into()).collect();
    let evidence = Evidence { certificates: certificates.into(), ..Evidence::default() };
    let (mut sum, mut best) = (0.0, f64::MAX);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        refuse(store, &evidence).await;
        let took = start.elapsed().as_secs_f64() * 1e6;
        sum += took;
        best = f64::min(best, took);
    }
    (sum / f64::from(ROUNDS), best)
}

/// What `register::identify` does for a device that is not enrolled individually.
async fn refuse(store: &EmbeddedStore, evidence: &Evidence) {
    let (scope, id) = (sample::scope("0ne00000A0A"), sample::registration_id("dev-1"));
    let configuration = store.configuration(&scope).await.unwrap();
    let known = configuration.trust();
    let ca = CaRules { known, require_verified: false, crl_max_age: CrlMaxAge::default() };
    let claimant = Claimant { scope: &scope, registration_id: &id, evidence, tpm: None, ca, now: NOW };
    let chain = parse_chain(&evidence.certificates).unwrap().completed(known.as_ref());
    let issuers = chain.issuers();
    let mut groups = configuration.groups().signing_as(&issuers);
    let cas = issuers.iter().flat_map(|issuer| known.of_subject(issuer)).map(|ca| ca.name.clone());
    groups.extend(configuration.groups().naming(&cas.collect::<Vec<_>>()));
    let groups: Vec<Arc<EnrollmentGroup>> = groups;
    let trace = attest::x509_group(&groups, &chain, None, &claimant);
    assert!(trace.outcome.is_err());
}
