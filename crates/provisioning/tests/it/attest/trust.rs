//! The trust of an instance: stored CA certificates that complete chains, CA references, verification, blocks and revocation
//! lists.

use std::sync::Arc;

use certpath::is_same_name;
use model::{
    Block, CaCertificate, Certificate, EnrollmentGroup, GroupAttestation, GroupCertificates,
    IndividualAttestation, IndividualCertificates, ListId, Pair, RevocationList, RevocationPolicy,
    RevocationSettings, Timestamp, Trust,
};
use provisioning::attest::{
    self, Attested, Refusal,
    x509::{CaRules, parse_chain},
};
use testkit::{
    ca::{Authority, Identity, Profile},
    crl::Revocations,
    sample,
};

use super::case::{
    DEVICE, NOW, attested, certificates, check, disabled, group, group_of, individual, with_trust,
};

/// A builder of trust.
#[derive(Default)]
pub struct Known {
    pub trust: Trust,
    require_verified: bool,
}

impl Known {
    pub fn ca(mut self, name: &str, authority: &Authority, is_verified: bool) -> Known {
        self.trust.put_certificate(Arc::new(ca(name, &authority.certificate(), is_verified)));
        self
    }

    pub fn certificate(mut self, name: &str, certificate: &Certificate) -> Known {
        self.trust.put_certificate(Arc::new(ca(name, certificate, false)));
        self
    }

    pub(super) fn hard(mut self, name: &str) -> Known {
        let stored = self.trust.certificate(&sample::ca_reference(name)).unwrap();
        let revocation =
            RevocationSettings { policy: RevocationPolicy::Hard, ..RevocationSettings::default() };
        let changed = CaCertificate { revocation, ..CaCertificate::clone(stored) };
        self.trust.put_certificate(Arc::new(changed));
        self
    }

    pub(super) fn list(mut self, name: &str, authority: &Authority, revocations: &Revocations) -> Known {
        let crl = revocations.signed_by(authority);
        self.trust.put_list(Arc::new(RevocationList {
            id: ListId::of(&crl),
            signed_by: authority.certificate().thumbprint().clone(),
            ..sample::revocation_list(name, &crl)
        }));
        self
    }

    /// Blocks a certificate by its thumbprint, as earlier versions did.
    pub fn blocking(self, certificate: &Certificate) -> Known {
        self.block(sample::block(certificate))
    }

    pub fn block(mut self, block: Block) -> Known {
        self.trust.put_block(Arc::new(block));
        self
    }

    pub fn requiring_verified(mut self) -> Known {
        self.require_verified = true;
        self
    }

    /// Returns the outcome for the device with these groups. As in the service, groups are found by the names of issuers.
    pub fn attest<D: AsRef<[u8]>>(
        &self,
        groups: &[EnrollmentGroup],
        chain: &[D],
    ) -> Result<Attested, Refusal> {
        let evidence = certificates(chain);
        let chain = parse_chain(&evidence.certificates)?.completed(&self.trust);
        let issuers = chain.issuers();
        let concerned = groups.iter().filter(|group| match &group.attestation {
            GroupAttestation::X509(GroupCertificates::Signing(pair)) => pair
                .iter()
                .any(|certificate| issuers.iter().any(|issuer| is_same_name(issuer, certificate.subject()))),
            _ => true,
        });
        let concerned: Vec<_> = concerned.cloned().map(Arc::new).collect();
        let outcome = with_trust(&self.trust, (DEVICE, NOW), &evidence, |claimant| {
            let ca = CaRules { require_verified: self.require_verified, ..claimant.ca };
            let claimant = attest::Claimant { ca, ..*claimant };
            attest::x509_group(&concerned, &chain, None, &claimant).outcome
        });
        attested(outcome)
    }

    pub fn attest_individual(
        &self,
        attestation: IndividualAttestation,
        chain: &[Vec<u8>],
    ) -> Result<Attested, Refusal> {
        let evidence = certificates(chain);
        let enrollment = individual(attestation);
        attested(with_trust(&self.trust, (DEVICE, NOW), &evidence, |claimant| {
            attest::individual(enrollment, claimant)
        }))
    }
}

fn ca(name: &str, certificate: &Certificate, is_verified: bool) -> CaCertificate {
    let revocation = RevocationSettings::default();
    CaCertificate {
        is_verified,
        verification_code: None,
        revocation,
        ..sample::ca_certificate(name, certificate)
    }
}

fn referring(id: &str, primary: &str, secondary: Option<&str>) -> EnrollmentGroup {
    let names = Pair::new(Some(sample::ca_reference(primary)), secondary.map(sample::ca_reference)).unwrap();
    let attestation = GroupAttestation::X509(GroupCertificates::CaReferences(names));
    EnrollmentGroup { attestation, ..group(id, Some(&Authority::root("x").certificate()), None) }
}

/// A root, two intermediates, and a device's chain without the root.
struct Plant {
    root: Authority,
    region: Authority,
    factory: Authority,
    chain: Vec<Vec<u8>>,
}

impl Plant {
    fn new() -> Plant {
        let root = Authority::root("Root");
        let region = root.intermediate("Region");
        let factory = region.intermediate("Factory");
        let mut chain = factory.chain_of(&factory.device(DEVICE));
        chain.pop();
        Plant { root, region, factory, chain }
    }

    fn leaf(&self) -> &[Vec<u8>] {
        &self.chain[..1]
    }
}

#[test]
fn stored_certificates_complete_a_chain() {
    let plant = Plant::new();
    let groups = [group_of("root", &plant.root)];
    let both = || Known::default().ca("factory", &plant.factory, false).ca("region", &plant.region, false);
    let one = || Known::default().ca("factory", &plant.factory, false);
    check("all sent", Known::default().attest(&groups, &plant.chain), Ok("root"));
    check("leaf only", both().attest(&groups, plant.leaf()), Ok("root"));
    check("one sent", one().attest(&groups, &[plant.chain[0].clone(), plant.chain[2].clone()]), Ok("root"));
    check("the lowest missing", Known::default().attest(&groups, plant.leaf()), Err("missing is CN=Factory"));
    let missing = one().attest(&groups, plant.leaf());
    check("one in between missing", missing, Err("issued CN=Factory; missing is CN=Region"));
    // A stored certificate of the same name and another key does not help.
    let impostor = Known::default().ca("factory", &Authority::root("Factory"), true);
    check("impostor", impostor.attest(&groups, plant.leaf()), Err("missing is CN=Factory"));
    let impostor = both().ca("other", &Authority::root("Factory"), true);
    check("impostor beside it", impostor.attest(&groups, plant.leaf()), Ok("root"));
}

#[test]
fn the_missing_issuer_is_named_with_its_key() {
    let root = Authority::root("Root");
    let leaf = super::case::custom(&root, "Root", DEVICE, |params| {
        params.use_authority_key_identifier_extension = true;
    });
    let refusal = Known::default().attest(&[], &[leaf]).map(|_| ()).unwrap_err().to_string();
    let (_, key) = refusal.split_once("missing is CN=Root (key identifier ").unwrap();
    assert_eq!(key.trim_end_matches(')').split(':').count(), 20, "{refusal}");
}

#[test]
fn groups_by_the_names_of_cas() {
    let plant = Plant::new();
    let verified = || Known::default().ca("Root", &plant.root, true).ca("region", &plant.region, false);
    let completing = || verified().ca("factory", &plant.factory, false);
    let of_root = [referring("line", "root", None)];
    check("all sent", verified().attest(&of_root, &plant.chain), Ok("line"));
    check("leaf only", completing().attest(&of_root, plant.leaf()), Ok("line"));
    check(
        "the secondary",
        verified().attest(&[referring("line", "gone", Some("ROOT"))], &plant.chain),
        Ok("line"),
    );
    let unverified = Known::default().ca("root", &plant.root, false);
    check(
        "unverified",
        unverified.attest(&of_root, &plant.chain),
        Err("the CA certificate root, which is not verified"),
    );
    check(
        "deleted",
        Known::default().attest(&of_root, &plant.chain),
        Err("issued CN=Region; missing is CN=Root"),
    );
    let nearer = [referring("line", "root", None), disabled(group_of("region", &plant.region))];
    check("a nearer group decides", verified().attest(&nearer, &plant.chain), Ok("region"));
    let other = Authority::root("X");
    let other = other.chain_of(&other.device(DEVICE));
    check("another CA", verified().attest(&of_root, &other), Err("missing is CN=X"));
}

#[test]
fn individual_enrollments_by_the_names_of_cas() {
    let plant = Plant::new();
    let named = |primary: &str, secondary: Option<&str>| {
        let names = Pair::new(Some(sample::ca_reference(primary)), secondary.map(sample::ca_reference));
        IndividualAttestation::X509(IndividualCertificates::CaReferences(names.unwrap()))
    };
    let known = || Known::default().ca("root", &plant.root, true).ca("soon", &plant.region, false);
    check("its CA", known().attest_individual(named("root", None), &plant.chain), Ok("individual"));
    check(
        "unverified",
        known().attest_individual(named("soon", None), &plant.chain),
        Err("soon, which is not verified"),
    );
    check(
        "gone",
        known().attest_individual(named("gone", None), &plant.chain),
        Err("gone, which no longer exists"),
    );
    let missing = known().attest_individual(named("root", None), plant.leaf());
    check("a link missing", missing, Err("missing is CN=Factory"));
    let completed = known().ca("factory", &plant.factory, false);
    check(
        "completed",
        completed.attest_individual(named("gone", Some("root")), plant.leaf()),
        Ok("individual"),
    );
    let other = plant.factory.chain_of(&plant.factory.device("dev-2"));
    check("another device", known().attest_individual(named("root", None), &other), Err("common name"));
}

#[test]
fn a_signing_certificate_must_be_verified_when_the_instance_asks_for_it() {
    let plant = Plant::new();
    let asked = || Known::default().requiring_verified();
    let (of_root, of_factory) = ([group_of("root", &plant.root)], [group_of("factory", &plant.factory)]);
    let whole: Vec<_> = plant.factory.chain_of(&plant.factory.device(DEVICE));
    let refused = Err("is not a verified CA certificate of the service instance and does not chain to one");
    check("not asked", Known::default().attest(&of_root, &plant.chain), Ok("root"));
    check("unknown", asked().attest(&of_root, &plant.chain), refused);
    check("unverified", asked().ca("r", &plant.root, false).attest(&of_root, &plant.chain), refused);
    check("verified itself", asked().ca("r", &plant.root, true).attest(&of_root, &plant.chain), Ok("root"));
    check("chains to one", asked().ca("r", &plant.root, true).attest(&of_factory, &whole), Ok("factory"));
    let leaf_only = asked().ca("r", &plant.root, true);
    check("a link missing", leaf_only.attest(&of_factory, plant.leaf()), Err("missing is CN=Region"));
    let stored = asked().ca("r", &plant.root, true).ca("g", &plant.region, false);
    check("completed", stored.attest(&of_factory, plant.leaf()), Ok("factory"));
    let verified = asked().ca("f", &plant.factory, true);
    check("the chain may stop there", verified.attest(&of_factory, plant.leaf()), Ok("factory"));
    let impostor = asked().ca("r", &Authority::root("Root"), true);
    check("of the same name", impostor.attest(&of_factory, &whole), Err("does not chain to one"));
}

#[test]
fn a_ca_is_rolled_over_without_interruption() {
    let (old, new) = (Authority::root("Plant CA 2026"), Authority::root("Plant CA 2027"));
    let (veteran, novice) = (old.chain_of(&old.device(DEVICE)), new.chain_of(&new.device(DEVICE)));
    let known = Known::default().ca("2026", &old, true).ca("2027", &new, true).requiring_verified();
    let signing = |one: &Authority, two: Option<&Authority>| {
        [group("line", Some(&one.certificate()), two.map(Authority::certificate).as_ref())]
    };
    // The new CA is added as the secondary; devices of both are admitted; the old one is removed.
    for (groups, veterans, novices) in [
        (signing(&old, None), Ok("line"), Err("missing is CN=Plant CA 2027")),
        (signing(&old, Some(&new)), Ok("line"), Ok("line")),
        (signing(&new, Some(&old)), Ok("line"), Ok("line")),
        (signing(&new, None), Err("missing is CN=Plant CA 2026"), Ok("line")),
    ] {
        check("a device of the old CA", known.attest(&groups, &veteran), veterans);
        check("a device of the new CA", known.attest(&groups, &novice), novices);
    }
    // The same by name, and while the old one has expired.
    let named = [referring("line", "2026", Some("2027"))];
    check("old", known.attest(&named, &veteran), Ok("line"));
    check("new", known.attest(&named, &novice), Ok("line"));
    let over = Authority::self_signed(&Profile::ca("Plant CA 2026").expired());
    let groups = [group("line", Some(&over.certificate()), Some(&new.certificate()))];
    let late = over.chain_of(&over.device(DEVICE));
    check("of the expired CA", Known::default().attest(&groups, &late), Err("CN=Plant CA 2026: expired"));
    check("of the new CA", Known::default().attest(&groups, &novice), Ok("line"));
}

#[test]
fn a_leaf_is_rolled_over_without_interruption() {
    let [old, new] = [(), ()].map(|()| Identity::self_signed(&Profile::device(DEVICE)));
    let leaves = |one: &Identity, two: Option<&Identity>| {
        let pair = Pair::new(Some(one.certificate()), two.map(Identity::certificate)).unwrap();
        IndividualAttestation::X509(IndividualCertificates::Client(pair))
    };
    let known = Known::default();
    for (enrolled, with_old, with_new) in [
        (leaves(&old, None), Ok("individual"), Err("is not one of the enrollment's")),
        (leaves(&old, Some(&new)), Ok("individual"), Ok("individual")),
        (leaves(&new, None), Err("is not one of the enrollment's"), Ok("individual")),
    ] {
        check("old", known.attest_individual(enrolled.clone(), &[old.der().to_vec()]), with_old);
        check("new", known.attest_individual(enrolled, &[new.der().to_vec()]), with_new);
    }
}

#[test]
fn blocked_certificates_are_refused() {
    let plant = Plant::new();
    let groups = [group_of("region", &plant.region)];
    let whole = plant.factory.chain_of(&plant.factory.device(DEVICE));
    let leaf = Certificate::from_der(&whole[0]).unwrap();
    let refused = |subject: &str| Err(format!("{subject} is blocked: stolen from the truck"));
    for (case, blocked, expected) in [
        ("the leaf", leaf.clone(), refused("CN=dev-1")),
        ("an intermediate", plant.factory.certificate(), refused("CN=Factory")),
        ("the group's", plant.region.certificate(), refused("CN=Region")),
        ("what is above the group's", plant.root.certificate(), refused("CN=Root")),
        ("another", Authority::root("Root").certificate(), Ok(())),
    ] {
        let known = Known::default().ca("root", &plant.root, false).blocking(&blocked);
        let expected = expected.as_ref().map(|()| "region").map_err(String::as_str);
        check(case, known.attest(&groups, &whole), expected);
    }
    // Other devices of the CA are admitted.
    let known = Known::default().blocking(&leaf);
    check(
        "its neighbour",
        known.attest(&groups, &plant.factory.chain_of(&plant.factory.device(DEVICE))),
        Ok("region"),
    );
    let client = |certificate: &Certificate| {
        let pair = Pair::new(Some(certificate.clone()), None).unwrap();
        IndividualAttestation::X509(IndividualCertificates::Client(pair))
    };
    check("enrolled by itself", known.attest_individual(client(&leaf), &whole), Err("CN=dev-1 is blocked"));
}

#[test]
fn revoked_certificates_are_refused() {
    let plant = Plant::new();
    let groups = [group_of("region", &plant.region)];
    let whole = plant.factory.chain_of(&plant.factory.device(DEVICE));
    let known = || Known::default().ca("f", &plant.factory, false).ca("r", &plant.root, false);
    let list = || Revocations::made_at(1, NOW);
    let mut other = list();
    other.serials = vec![vec![1], vec![2]];
    check("others", known().list("f", &plant.factory, &other).attest(&groups, &whole), Ok("region"));
    let leaf = known().list("f", &plant.factory, &list().revoke(&whole[0]));
    let refused = "CN=dev-1 was revoked by the CA f at 2026-01-01T00:00:00Z (keyCompromise)";
    check("the leaf", leaf.attest(&groups, &whole), Err(refused));
    let above = known().list("r", &plant.root, &list().revoke(&whole[2]));
    check("the group's own", above.attest(&groups, &whole), Err("CN=Region was revoked by the CA r"));
    // A serial number applies to one CA only, not even to another of the same name.
    let elsewhere = known().list("r", &plant.root, &list().revoke(&whole[0]));
    check("another CA's serial", elsewhere.attest(&groups, &whole), Ok("region"));
    let namesake = Authority::root("Factory");
    let namesake = Known::default().ca("n", &namesake, true).list("n", &namesake, &list().revoke(&whole[0]));
    check("a namesake", namesake.attest(&groups, &whole), Ok("region"));
    // A list that arrived while the certificate was replaced is ignored.
    let stale_name = known().list("f", &plant.root, &list().revoke(&whole[0]));
    check("signed by the one before", stale_name.attest(&groups, &whole), Ok("region"));
    let client = Pair::new(Some(Certificate::from_der(&whole[0]).unwrap()), None).unwrap();
    let client = IndividualAttestation::X509(IndividualCertificates::Client(client));
    check("enrolled by itself", leaf.attest_individual(client, &whole[..1]), Err("CN=dev-1 was revoked"));
}

/// Blocks and revocations above a CA certificate apply, even if it is verified or named by an enrollment.
#[test]
fn refusals_above_a_verified_ca_apply() {
    let plant = Plant::new();
    let whole = plant.factory.chain_of(&plant.factory.device(DEVICE));
    let revoking = Revocations::made_at(1, NOW).revoke(&whole[2]);
    let groups = [
        group_of("line", &plant.region),
        referring("line", "region", None),
        group_of("line", &plant.factory),
    ];
    let names = Pair::new(Some(sample::ca_reference("region")), None).unwrap();
    let individual = IndividualAttestation::X509(IndividualCertificates::CaReferences(names));
    for is_root_verified in [false, true] {
        let region = || Known::default().ca("region", &plant.region, true);
        let known = || region().ca("root", &plant.root, is_root_verified);
        for (case, known, expected) in [
            ("nothing", known(), None),
            (
                "revoked",
                known().list("root", &plant.root, &revoking),
                Some("Region was revoked by the CA root"),
            ),
            ("hard", known().hard("root"), Some("no fresh revocation list of the CA root covers CN=Region")),
            ("blocked", known().blocking(&plant.root.certificate()), Some("CN=Root is blocked")),
        ] {
            for group in &groups {
                let outcome = known.attest(std::slice::from_ref(group), &plant.chain);
                check(case, outcome, expected.map_or(Ok("line"), Err));
            }
            let outcome = known.attest_individual(individual.clone(), &plant.chain);
            check(case, outcome, expected.map_or(Ok("individual"), Err));
        }
    }
}

#[test]
fn missing_and_stale_lists_by_policy() {
    let root = Authority::root("Root");
    let groups = [group_of("root", &root)];
    let leaf = root.device(DEVICE);
    let chain = [leaf.der().to_vec()];
    let before = |seconds: i64| Timestamp::from_unix_seconds(NOW.unix_seconds() - seconds);
    let (fresh, stale) = (Revocations::made_at(1, before(10)), Revocations::made_at(1, before(100_000)));
    let soft = || Known::default().ca("root", &root, true);
    let hard = || soft().hard("root");
    let uncovered = |gap: &str| {
        format!("no fresh revocation list of the CA root covers CN=dev-1, and its policy is hard: {gap}")
    };
    let (missing, all_stale) = (uncovered("there is none"), uncovered("all are stale"));
    check("soft, missing", soft().attest(&groups, &chain), Ok("root"));
    check("soft, stale", soft().list("root", &root, &stale).attest(&groups, &chain), Ok("root"));
    check("hard, missing", hard().attest(&groups, &chain), Err(&missing));
    check("hard, stale", hard().list("root", &root, &stale).attest(&groups, &chain), Err(&all_stale));
    check("hard, fresh", hard().list("root", &root, &fresh).attest(&groups, &chain), Ok("root"));
    // Certificates in a stale list are revoked all the same.
    let revoked = soft().list("root", &root, &stale.revoke(leaf.der()));
    check("soft, stale and revoked", revoked.attest(&groups, &chain), Err("was revoked"));
}

/// A CA certificate that a group names and that was deleted may be the issuer that is missing.
#[test]
fn a_missing_issuer_may_be_a_deleted_ca() {
    let plant = Plant::new();
    let evidence = certificates(plant.leaf());
    let chain = parse_chain(&evidence.certificates).unwrap();
    let trace = with_trust(&Trust::default(), (DEVICE, NOW), &evidence, |claimant| {
        attest::x509_group(&[], &chain, None, claimant)
    });
    assert!(trace.misses_issuer());
    let named = trace.with_gone_ca(&sample::ca_reference("root"));
    check("deleted", attested(named.outcome), Err("CA certificate root, which no longer exists"));
}
