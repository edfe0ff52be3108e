//! Blocks and revocations, with a device that chooses which certificates it sends.

use std::sync::Arc;

use model::{
    CaCertificate, Certificate, EnrollmentGroup, IndividualAttestation, IndividualCertificates, ListId, Pair,
    RevocationList, RevocationSettings,
};
use proptest::{prelude::*, strategy::ValueTree};
use provisioning::attest::{Attested, Refusal};
use rcgen::{BasicConstraints, IsCa, KeyPair, date_time_ymd};
use testkit::{ca::Authority, crl::Revocations, sample};

use super::{
    case::{DEVICE, NOW, check, for_key, group, key_of},
    trust::Known,
};

/// Returns a certificate for the key of one CA, issued by another.
fn cross(of: (&Authority, &str), by: (&Authority, &str), until: i32) -> Vec<u8> {
    let (authority, name) = of;
    for_key(&key_of(authority), by, name, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(until, 1, 1);
    })
}

fn certificate(der: &[u8]) -> Certificate {
    Certificate::from_der(der).unwrap()
}

impl Known {
    fn stored(mut self, name: &str, der: &[u8], is_verified: bool) -> Known {
        let stored = sample::ca_certificate(name, &certificate(der));
        let revocation = RevocationSettings::default();
        let stored = CaCertificate { is_verified, verification_code: None, revocation, ..stored };
        self.trust.put_certificate(Arc::new(stored));
        self
    }

    fn revoking(mut self, name: &str, der: &[u8], (by, revoked): (&Authority, &[&[u8]])) -> Known {
        let revocations = revoked.iter().fold(Revocations::made_at(1, NOW), |list, der| list.revoke(der));
        let crl = revocations.signed_by(by);
        self.trust.put_list(Arc::new(RevocationList {
            id: ListId::of(&crl),
            signed_by: certificate(der).thumbprint().clone(),
            ..sample::revocation_list(name, &crl)
        }));
        self
    }
}

fn is_by_operator(decided: &Result<Attested, Refusal>) -> bool {
    matches!(decided, Err(Refusal::Certificate(refusal)) if refusal.is_by_operator())
}

/// The root is stored and blocked. The device sends a certificate of the root's name and key that it signed itself.
#[test]
fn certificates_that_are_sent_hide_no_refusal() {
    let root = Authority::root("Root");
    let factory = root.intermediate("Factory");
    let own = Authority::root("Own");
    let forged = cross((&root, "Root"), (&own, "Own"), 2100);
    let leaf = factory.device(DEVICE).der().to_vec();
    let (factory_der, own_der) = (factory.identity().der().to_vec(), own.identity().der().to_vec());
    let groups = [group("factory", Some(&factory.certificate()), None)];
    let sent = [
        vec![leaf.clone()],
        vec![leaf.clone(), factory_der.clone()],
        vec![leaf.clone(), factory_der.clone(), forged.clone()],
        vec![leaf, factory_der, forged, own_der],
    ];
    let known = || Known::default().ca("root", &root, true);
    let revoked =
        |known: Known| known.revoking("root", root.identity().der(), (&root, &[factory.identity().der()]));
    for chain in &sent {
        check("nothing", known().attest(&groups, chain), Ok("factory"));
        for known in [known(), known().requiring_verified()] {
            let blocked = known.blocking(&root.certificate());
            check("blocked", blocked.attest(&groups, chain), Err("CN=Root is blocked"));
        }
        for known in [known(), known().requiring_verified()] {
            let decided = revoked(known).attest(&groups, chain);
            check("revoked", decided, Err("CN=Factory was revoked by the CA root"));
        }
    }
}

/// A root and its successor for the same name and key, both stored: an operator blocks one of them, or the key.
#[test]
fn a_stored_certificate_replaces_a_blocked_one_of_its_key() {
    let (root, other) = (Authority::root("Root"), Authority::root("Other"));
    let factory = root.intermediate("Factory");
    let successor = cross((&root, "Root"), (&other, "Other"), 2100);
    let chain = [factory.device(DEVICE).der().to_vec(), factory.identity().der().to_vec()];
    let block = |der: &[u8]| sample::certificate_block(&certificate(der));
    let (old, new) = (root.identity().der(), successor.as_slice());
    let both = || Known::default().stored("old", old, true).stored("new", new, true);
    let only_old = || Known::default().stored("old", old, true);
    let refused = Err("is blocked");
    // Above the group's certificate, and as the groups' own.
    let above = [group("g", Some(&factory.certificate()), None)];
    let own = [group("g", Some(&certificate(old)), Some(&certificate(new)))];
    for (case, known, expected) in [
        ("nothing", both(), Ok("g")),
        ("the old one", both().block(block(old)), Ok("g")),
        ("the new one", both().block(block(new)), Ok("g")),
        ("both", both().block(block(old)).block(block(new)), refused),
        ("the key", both().block(sample::key_block(&certificate(old))), refused),
    ] {
        check(case, known.attest(&above, &chain), expected);
        check(case, known.attest(&own, &chain), expected);
    }
    // If it is only sent, the successor replaces nothing.
    let sent = [&chain[..], &[successor.clone(), other.identity().der().to_vec()]].concat();
    check("sent", only_old().block(block(old)).attest(&above, &sent), refused);
}

/// The CAs of a generated case, with the certificates for their keys: genuine ones, and some that the device created.
struct World {
    /// The DER, and the index in `trust` of the CA that signed it.
    pool: Vec<(Vec<u8>, usize)>,
    trust: Vec<(Authority, &'static str)>,
    leaf: Vec<u8>,
}

/// The number of certificates at the start of the pool that operators may store and trust; the device created the rest.
const TRUE: usize = 11;

impl World {
    fn new() -> World {
        let names = ["R", "Q", "G", "F", "X"];
        let trust: Vec<_> = names.into_iter().map(|name| (Authority::root(name), name)).collect();
        let [r, q, g, f, x] = [0, 1, 2, 3, 4];
        let pool = [
            // Roots, one of them renewed.
            (r, r, 2100),
            (r, r, 2090),
            (q, q, 2100),
            // Regions and factories: of either root, and renewed.
            (g, r, 2100),
            (g, q, 2100),
            (g, r, 2090),
            (f, g, 2100),
            (f, q, 2100),
            (f, g, 2090),
            // Roots by each other.
            (r, q, 2100),
            (q, r, 2100),
            // The device's own, and those that it created for the names and keys of the others.
            (x, x, 2100),
            (r, x, 2100),
            (q, x, 2100),
            (g, x, 2100),
            (f, x, 2100),
        ];
        let issued = |(of, by, until): (usize, usize, i32)| {
            let by_parts = (&trust[by].0, trust[by].1);
            (cross((&trust[of].0, trust[of].1), by_parts, until), by)
        };
        let pool: Vec<_> = pool.into_iter().map(issued).collect();
        let leaf = for_key(&KeyPair::generate().unwrap(), (&trust[f].0, "F"), DEVICE, |_| {});
        World { pool, trust, leaf }
    }

    fn sent(&self, which: u32) -> Vec<Vec<u8>> {
        let chosen = self.pool.iter().enumerate().filter(|(at, _)| which & (1 << at) != 0);
        // A chain has at most ten certificates.
        [self.leaf.clone()].into_iter().chain(chosen.map(|(_, (der, _))| der.clone())).take(10).collect()
    }

    fn known(&self, knowledge: &Knowledge) -> Known {
        let mut known = Known::default();
        for (at, (der, _)) in self.pool.iter().enumerate().take(TRUE) {
            let is_in = |set: u32| set & (1 << at) != 0;
            if is_in(knowledge.stored) {
                let name = format!("ca-{at}");
                known = known.stored(&name, der, is_in(knowledge.verified));
                if is_in(knowledge.hard) {
                    known = known.hard(&name);
                }
            }
        }
        for (at, (der, _)) in self.pool.iter().enumerate() {
            let certificate = certificate(der);
            if knowledge.blocked & (1 << at) != 0 {
                known = known.block(match knowledge.kinds >> at & 3 {
                    0 => sample::block(&certificate),
                    3 => sample::key_block(&certificate),
                    _ => sample::certificate_block(&certificate),
                });
            }
        }
        self.with_lists(known, knowledge)
    }

    /// Adds a list of each stored CA, with some certificates that it issued.
    fn with_lists(&self, mut known: Known, knowledge: &Knowledge) -> Known {
        let signer = |at: usize| [0, 0, 1, 2, 2, 2, 3, 3, 3, 0, 1][at];
        for (at, (der, _)) in self.pool.iter().enumerate().take(TRUE) {
            let of_it = self.pool.iter().enumerate().filter(|(_, (_, by))| *by == signer(at));
            let revoked = of_it.filter(|(place, _)| knowledge.revoked & (1 << place) != 0);
            let revoked: Vec<_> = revoked.map(|(_, (der, _))| der.as_slice()).collect();
            if knowledge.stored & knowledge.listing & (1 << at) != 0 && !revoked.is_empty() {
                known = known.revoking(&format!("ca-{at}"), der, (&self.trust[signer(at)].0, &revoked));
            }
        }
        if knowledge.requires_verified { known.requiring_verified() } else { known }
    }

    fn groups(&self, trusted: u32) -> Vec<EnrollmentGroup> {
        let own = self.pool.iter().enumerate().take(TRUE).filter(|(at, _)| trusted & (1 << at) != 0);
        own.map(|(at, (der, _))| group(&format!("group-{at}"), Some(&certificate(der)), None)).collect()
    }
}

/// What operators stored, as sets of indexes in the pool.
#[derive(Debug, Clone)]
struct Knowledge {
    stored: u32,
    verified: u32,
    trusted: u32,
    blocked: u32,
    kinds: u32,
    revoked: u32,
    listing: u32,
    hard: u32,
    requires_verified: bool,
}

fn few() -> impl Strategy<Value = u32> {
    prop::collection::vec(0u32..16, 0..4)
        .prop_map(|places| places.into_iter().fold(0, |set, at| set | 1 << at))
}

prop_compose! {
    fn knowledge()(
        (stored, verified, trusted) in (any::<u32>(), any::<u32>(), few()),
        (blocked, kinds) in (few(), any::<u32>()),
        (revoked, listing, hard) in (few(), any::<u32>(), few()),
        requires_verified in any::<bool>(),
    ) -> Knowledge {
        Knowledge { stored, verified, trusted, blocked, kinds, revoked, listing, hard, requires_verified }
    }
}

thread_local! {
    static WORLD: World = World::new();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::cases(3000)))]

    #[test]
    fn more_certificates_turn_no_refusal_into_an_admission(
        knowledge in knowledge(),
        some in few(),
        more in few(),
    ) {
        WORLD.with(|world| {
            let (known, groups) = (world.known(&knowledge), world.groups(knowledge.trusted));
            let (less, all) = (world.sent(some), world.sent(some | more));
            let refused = known.attest(&groups, &less);
            if is_by_operator(&refused) {
                let decided = known.attest(&groups, &all);
                prop_assert!(decided.is_err(), "{refused:?}");
            }
            let stored = (0..TRUE).find(|at| knowledge.stored & knowledge.verified & (1 << at) != 0);
            if let Some(at) = stored {
                let names = Pair::new(Some(sample::ca_reference(&format!("ca-{at}"))), None).unwrap();
                let by_ca = IndividualAttestation::X509(IndividualCertificates::CaReferences(names));
                let refused = known.attest_individual(by_ca.clone(), &less);
                if is_by_operator(&refused) {
                    prop_assert!(known.attest_individual(by_ca, &all).is_err(), "{refused:?}");
                }
            }
            Ok(())
        })?;
    }
}

/// A root with a hard policy and without lists is above another root, and certifies the factory that the device sends.
#[test]
fn a_nearer_group_behind_a_refused_step_admits_nothing() {
    let knowledge = Knowledge {
        stored: 0b111_0010_0100,
        verified: 0b111_0010_0100,
        trusted: 0b101,
        blocked: 0,
        kinds: 0,
        revoked: 0,
        listing: 0,
        hard: 0b100,
        requires_verified: true,
    };
    let world = World::new();
    let (known, groups) = (world.known(&knowledge), world.groups(knowledge.trusted));
    for more in [0, 1 << 7] {
        let decided = known.attest(&groups, &world.sent(more));
        assert!(is_by_operator(&decided), "{more}: {decided:?}");
    }
}

/// The property above is not vacuous: many generated cases refuse, and many admit.
#[test]
fn generated_worlds_refuse_and_admit() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let world = World::new();
    let (mut by_operator, mut admitted) = (0, 0);
    for _ in 0..1000 {
        let case = (knowledge(), few()).new_tree(&mut runner).unwrap().current();
        let (knowledge, sent) = case;
        let decided = world.known(&knowledge).attest(&world.groups(knowledge.trusted), &world.sent(sent));
        by_operator += u32::from(is_by_operator(&decided));
        admitted += u32::from(decided.is_ok());
    }
    assert!(by_operator > 50 && admitted > 50, "{by_operator} refused, {admitted} admitted");
}

/// A root revoked itself. Without the newer factory only the group of that root is reached, and with it a nearer one.
#[test]
fn a_root_that_revoked_itself_admits_nothing() {
    let knowledge = Knowledge {
        stored: 0b111_1011_1101,
        verified: 1,
        trusted: 0b1010,
        blocked: 1 << 8,
        kinds: 0,
        revoked: 1,
        listing: 1,
        hard: 0,
        requires_verified: true,
    };
    let world = World::new();
    let (known, groups) = (world.known(&knowledge), world.groups(knowledge.trusted));
    for more in [0, 1 << 6] {
        let decided = known.attest(&groups, &world.sent(more));
        assert!(is_by_operator(&decided), "{more}: {decided:?}");
    }
}
