//! Enrollment groups by X.509: the leaf chains to the group's signing certificate.

use std::sync::Arc;

use model::{Certificate, EnrollmentGroup, Timestamp};
use provisioning::attest::{self, x509::parse_chain};
use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use testkit::ca::{Authority, Form, Identity, KeyKind, Profile};

use super::case::{
    DEVICE, NOW, by_group, certificates, check, custom, disabled, for_key, group, group_of, key_of,
    without_trust,
};

/// Presents the chain now, as the device in its leaf.
fn check_chain<D: AsRef<[u8]>>(
    case: &str,
    groups: &[EnrollmentGroup],
    chain: &[D],
    expected: Result<&str, &str>,
) {
    check(case, by_group(groups, &certificates(chain), DEVICE, NOW), expected);
}

/// A root, three intermediates below each other, and a device of the lowest; all DER of the chain, leaf first.
struct Deep {
    root: Authority,
    region: Authority,
    factory: Authority,
    line: Authority,
    chain: Vec<Vec<u8>>,
}

impl Deep {
    fn new() -> Deep {
        let root = Authority::root("Root");
        let region = root.intermediate("Region");
        let factory = region.intermediate("Factory");
        let line = factory.intermediate("Line");
        let chain = line.chain_of(&line.device(DEVICE));
        Deep { root, region, factory, line, chain }
    }

    fn present(&self, positions: &[usize]) -> Vec<Vec<u8>> {
        positions.iter().map(|at| self.chain[*at].clone()).collect()
    }
}

#[test]
fn chains_of_every_length_and_order() {
    let deep = Deep::new();
    let of_root = [group_of("root", &deep.root)];
    let of_region = [group_of("region", &deep.region)];
    let of_line = [group_of("line", &deep.line)];
    let foreign = Authority::root("Foreign");
    let cases: [(_, &[EnrollmentGroup], &[usize], _); 14] = [
        ("all of it", &of_root, &[0, 1, 2, 3, 4], Ok("root")),
        ("without the root", &of_root, &[0, 1, 2, 3], Ok("root")),
        ("out of order", &of_root, &[0, 4, 2, 1, 3], Ok("root")),
        ("twice", &of_root, &[0, 1, 1, 2, 3, 2, 0, 3], Ok("root")),
        ("an intermediate as the group's", &of_region, &[0, 1, 2], Ok("region")),
        ("with what is above it", &of_region, &[0, 1, 2, 3, 4], Ok("region")),
        ("the issuer as the group's, leaf only", &of_line, &[0], Ok("line")),
        ("the issuer as the group's, all of it", &of_line, &[0, 1, 2, 3, 4], Ok("line")),
        (
            "leaf only, and the group is further up",
            &of_root,
            &[0],
            Err("issued CN=dev-1; missing is CN=Line"),
        ),
        ("the lowest missing", &of_root, &[0, 2, 3], Err("issued CN=dev-1; missing is CN=Line")),
        ("one in between missing", &of_root, &[0, 1, 3], Err("issued CN=Line; missing is CN=Factory")),
        ("the highest missing", &of_root, &[0, 1, 2], Err("issued CN=Factory; missing is CN=Region")),
        ("no group", &[], &[0, 1, 2, 3, 4], Err("missing is CN=Root")),
        ("a group of another CA", &[group_of("foreign", &foreign)], &[0, 1, 2, 3], Err("missing is CN=Root")),
    ];
    for (case, groups, positions, expected) in cases {
        check_chain(case, groups, &deep.present(positions), expected);
    }
}

#[test]
fn unrelated_certificates_do_not_matter() {
    let deep = Deep::new();
    let other = Authority::root("Other");
    let strangers = [other.identity().der().to_vec(), other.device("x").der().to_vec()];
    let chain: Vec<_> = deep.chain[..1].iter().chain(&strangers).chain(&deep.chain[1..4]).collect();
    let evidence: Vec<_> = chain.into_iter().cloned().collect();
    check_chain("strangers", &[group_of("root", &deep.root)], &evidence, Ok("root"));
}

#[test]
fn keys_of_every_kind_sign() {
    let kinds = [KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Ed25519, KeyKind::Rsa2048];
    for (at, key) in kinds.into_iter().enumerate() {
        let next = kinds[(at + 1) % kinds.len()];
        let root = Authority::self_signed(&Profile { key, ..Profile::ca("Root") });
        let factory = root.authority(&Profile { key: next, ..Profile::ca("Factory") });
        let chain = factory.chain_of(&factory.device(DEVICE));
        check_chain(&format!("{key:?}, {next:?}"), &[group_of("root", &root)], &chain, Ok("root"));
    }
}

/// Forms of an intermediate CA, each sent by the device, and as the group's own.
#[test]
fn issuers_by_form() {
    let root = Authority::root("Root");
    let profiles = [
        ("as it should be", Profile::ca("Factory"), Ok(())),
        ("path length 0", Profile { form: Form::CaWithPathLength(0), ..Profile::ca("Factory") }, Ok(())),
        ("one day, today", Profile::ca("Factory").one_day_from(NOW), Ok(())),
        (
            "no CA",
            Profile { form: Form::Device, ..Profile::ca("Factory") },
            Err("CN=Factory: issued a certificate but is not a CA"),
        ),
        (
            "may not sign",
            Profile { form: Form::CaWithoutKeyCertSign, ..Profile::ca("Factory") },
            Err("CN=Factory: issued a certificate but its key usage lacks keyCertSign"),
        ),
        (
            "something critical",
            Profile { form: Form::UnknownCritical, ..Profile::ca("Factory") },
            Err("CN=Factory: has the critical extension"),
        ),
        ("expired", Profile::ca("Factory").expired(), Err("CN=Factory: expired at 2020-12-31")),
        (
            "of tomorrow",
            Profile::ca("Factory").one_day_from(Timestamp::from_unix_seconds(NOW.unix_seconds() + 1)),
            Err("CN=Factory: is not valid before 2026-11-23T00:00:01"),
        ),
    ];
    for (case, profile, expected) in profiles {
        let factory = root.authority(&profile);
        let chain = factory.chain_of(&factory.device(DEVICE));
        check_chain(case, &[group_of("root", &root)], &chain, expected.map(|()| "root"));
        let own = [group_of("factory", &factory)];
        check_chain(&format!("{case}, as the group's"), &own, &chain[..1], expected.map(|()| "factory"));
    }
}

/// Any device's leaf may have no extensions either, so such a certificate is a CA only if an operator stored it.
#[test]
fn an_issuer_without_basic_constraints_must_be_the_groups_own() {
    let root = Authority::root("Root");
    for form in [Form::Bare, Form::Version1] {
        let factory = root.authority(&Profile { form, ..Profile::ca("Factory") });
        let chain = factory.chain_of(&factory.device(DEVICE));
        check_chain("the group's own", &[group_of("factory", &factory)], &chain[..1], Ok("factory"));
        let refused = Err("CN=Factory: issued a certificate but does not say that it is a CA");
        check_chain("sent along", &[group_of("root", &root)], &chain, refused);
        let root = Authority::self_signed(&Profile { form, ..Profile::ca("Root") });
        check_chain("a root", &[group_of("root", &root)], &[root.device(DEVICE).der()], Ok("root"));
    }
}

#[test]
fn leaves_by_form() {
    let root = Authority::root("Root");
    let groups = [group_of("root", &root)];
    let form = |form| Profile { form, ..Profile::device(DEVICE) };
    let cases = [
        ("as it should be", Profile::device(DEVICE), Ok("root")),
        ("no extensions", form(Form::Bare), Ok("root")),
        ("no extended key usage", form(Form::DeviceWithoutUsage), Ok("root")),
        ("server authentication only", form(Form::ServerOnly), Ok("root")),
        ("a CA", form(Form::Ca), Ok("root")),
        ("version 1", form(Form::Version1), Ok("root")),
        ("one day, today", Profile::device(DEVICE).one_day_from(NOW), Ok("root")),
        ("the name in capitals", Profile::device("Dev-1"), Ok("root")),
        ("another name", Profile::device("dev-2"), Err(r#"the leaf's common name is "dev-2""#)),
        ("expired", Profile::device(DEVICE).expired(), Err("CN=dev-1: expired")),
        ("something critical", form(Form::UnknownCritical), Err("CN=dev-1: has the critical extension")),
    ];
    for (case, profile, expected) in cases {
        check_chain(case, &groups, &[root.issue(&profile).der()], expected);
    }
}

#[test]
fn path_lengths_bind() {
    let ca = |length| Profile { form: Form::CaWithPathLength(length), ..Profile::ca("Region") };
    let below = |length, intermediates: usize| {
        let region = Authority::root("Root").authority(&ca(length));
        let chain = match intermediates {
            0 => region.chain_of(&region.device(DEVICE)),
            1 => {
                let factory = region.intermediate("Factory");
                factory.chain_of(&factory.device(DEVICE))
            }
            _ => {
                let line = region.intermediate("Factory").intermediate("Line");
                line.chain_of(&line.device(DEVICE))
            }
        };
        (group_of("region", &region), chain)
    };
    let cases = [(0, 0, true), (0, 1, false), (1, 1, true), (1, 2, false), (2, 2, true)];
    for (length, intermediates, fits) in cases {
        let (group, chain) = below(length, intermediates);
        let refusal = format!(
            "CN=Region: allows {length} certificates between itself and the leaf, and there are {intermediates}"
        );
        let expected = if fits { Ok("region") } else { Err(&*refusal) };
        check_chain(&refusal, &[group], &chain, expected);
    }
}

#[test]
fn the_right_name_with_the_wrong_key() {
    let (root, impostor) = (Authority::root("Root"), Authority::root("Root"));
    let groups = [group_of("root", &root)];
    let unsigned = Err("is not signed by its issuer's key");
    let leaf = impostor.device(DEVICE);
    check_chain("leaf", &groups, &[leaf.der()], Err("CN=dev-1: is not signed by its issuer's key"));
    check_chain("leaf and impostor", &groups, &impostor.chain_of(&leaf), unsigned);

    let (factory, false_factory) = (root.intermediate("Factory"), impostor.intermediate("Factory"));
    let leaf = false_factory.device(DEVICE);
    check_chain("the true intermediate", &groups, &[leaf.der(), factory.identity().der()], unsigned);
    check_chain("all false", &groups, &false_factory.chain_of(&leaf), unsigned);
    let of_factory = [group_of("factory", &factory)];
    let chain = false_factory.chain_of(&leaf);
    check_chain("false intermediate", &of_factory, &chain[..1], unsigned);
    check_chain("all false, and the group is below", &of_factory, &chain, unsigned);

    let own = Identity::self_signed(&Profile::device(DEVICE));
    check_chain("self-signed", &groups, &[own.der()], Err("missing is CN=dev-1"));
    let named_root = Identity::self_signed(&Profile::device("Root"));
    let claimed = by_group(&groups, &certificates(&[named_root.der()]), "Root", NOW);
    check("self-signed under the root's name", claimed, unsigned);
}

/// A leaf of another device that is sent along proves nothing: the handshake proves possession of the first certificate's key only.
#[test]
fn only_the_first_certificate_counts_as_the_devices() {
    let root = Authority::root("Root");
    let (own, stolen) = (Identity::self_signed(&Profile::device("x")), root.device(DEVICE));
    let chain = [own.der(), stolen.der(), root.identity().der()];
    check_chain("stolen", &[group_of("root", &root)], &chain, Err(r#"the leaf's common name is "x""#));
    let as_x = by_group(&[group_of("root", &root)], &certificates(&chain), "x", NOW);
    check("stolen", as_x, Err("missing is CN=x"));
}

#[test]
fn a_leaf_is_not_an_issuer() {
    let root = Authority::root("Root");
    let device = root.authority(&Profile::device("dev-0"));
    let leaf = device.device(DEVICE);
    let chain = device.chain_of(&leaf);
    check_chain(
        "leaf as issuer",
        &[group_of("root", &root)],
        &chain,
        Err("CN=dev-0: issued a certificate but is not a CA"),
    );
}

#[test]
fn either_signing_certificate_serves() {
    let (old, new) = (Authority::root("Old"), Authority::root("New"));
    let groups = [group("both", Some(&old.certificate()), Some(&new.certificate()))];
    check_chain("primary", &groups, &[old.device(DEVICE).der()], Ok("both"));
    check_chain("secondary", &groups, &[new.device(DEVICE).der()], Ok("both"));
    let only = [group("one", None, Some(&new.certificate()))];
    check_chain("only a secondary", &only, &[new.device(DEVICE).der()], Ok("one"));
    check_chain("not the secondary", &only, &[old.device(DEVICE).der()], Err("missing is CN=Old"));
}

#[test]
fn the_nearest_group_decides() {
    let deep = Deep::new();
    let (root, region) = (group_of("root", &deep.root), group_of("region", &deep.region));
    let (factory, line) = (group_of("factory", &deep.factory), group_of("line", &deep.line));
    let cases = [
        ("lowest first", vec![&line, &root], "line"),
        ("lowest last", vec![&root, &region, &factory], "factory"),
        ("all", vec![&root, &factory, &line, &region], "line"),
    ];
    for (case, groups, expected) in cases {
        let groups: Vec<_> = groups.into_iter().cloned().collect();
        check_chain(case, &groups, &deep.chain, Ok(expected));
    }
    // A disabled group is found like any other; its settings decide later.
    check_chain("disabled below", &[root.clone(), disabled(line.clone())], &deep.chain, Ok("line"));
    check_chain("disabled above", &[disabled(root), line], &deep.chain, Ok("line"));
}

#[test]
fn of_groups_with_one_certificate_a_disabled_one_decides() {
    let root = Authority::root("Root");
    let leaf = root.device(DEVICE);
    let (a, b) = (group_of("a", &root), group_of("b", &root));
    let cases = [
        (vec![a.clone(), b.clone()], "a"),
        (vec![a.clone(), disabled(b.clone())], "b"),
        (vec![disabled(a.clone()), b.clone()], "a"),
    ];
    for (groups, expected) in cases {
        check_chain(expected, &groups, &[leaf.der()], Ok(expected));
    }
}

/// A refusal must cost little however many groups there are, so not all are listed; the one that admits a device always is.
#[test]
fn of_many_groups_nineteen_that_refuse_are_listed() {
    let root = Authority::root("Root");
    let factory = root.intermediate("Factory");
    let mut groups: Vec<_> = (0..30).map(|at| Arc::new(group_of(&format!("root-{at}"), &root))).collect();
    groups.push(Arc::new(group_of("factory", &factory)));
    let strange = Authority::root("Root");
    for (chain, is_admitted, listed) in [
        (factory.chain_of(&factory.device(DEVICE)), true, 20),
        (root.chain_of(&root.issue(&Profile::device(DEVICE).expired())), false, 0),
        (strange.chain_of(&strange.device(DEVICE)), false, 19),
    ] {
        let evidence = certificates(&chain);
        let trace = without_trust(DEVICE, NOW, &evidence, |claimant| {
            let chain = parse_chain(&evidence.certificates).unwrap();
            attest::x509_group(&groups, &chain, None, claimant)
        });
        assert_eq!(trace.outcome.is_ok(), is_admitted);
        let admitting = trace.considered.iter().filter(|one| one.verdict.is_ok()).count();
        assert_eq!((trace.considered.len(), admitting), (listed, usize::from(is_admitted)));
        assert_eq!(trace.omitted, if listed == 0 { 0 } else { groups.len() - listed });
    }
}

/// The same CA with the same key, once expired and once renewed.
#[test]
fn a_renewed_certificate_serves_beside_its_expired_predecessor() {
    let root = Authority::root("Root");
    let factory = root.intermediate("Factory");
    let again = |until| {
        for_key(&key_of(&factory), (&root, "Root"), "Factory", |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.not_after = date_time_ymd(until, 1, 1);
        })
    };
    let (old, new) = (again(2025), again(2030));
    let (old_certificate, new_certificate) =
        (Certificate::from_der(&old).unwrap(), Certificate::from_der(&new).unwrap());
    let leaf = factory.device(DEVICE).der().to_vec();
    let alone = std::slice::from_ref(&leaf);

    let in_one = [group("both", Some(&old_certificate), Some(&new_certificate))];
    check_chain("in one group", &in_one, alone, Ok("both"));
    let (old_group, new_group) =
        (group("old", Some(&old_certificate), None), group("new", Some(&new_certificate), None));
    check_chain("in two groups", &[new_group.clone(), old_group.clone()], alone, Ok("new"));
    check_chain("in two groups", &[old_group.clone(), new_group.clone()], alone, Ok("new"));
    check_chain("only the old one", std::slice::from_ref(&old_group), alone, Err("CN=Factory: expired"));
    let blocked = [disabled(old_group), new_group];
    check_chain("the old one disabled", &blocked, alone, Err("CN=Factory: expired"));

    let of_root = [group_of("root", &root)];
    for (case, chain, expected) in [
        ("old first", [&leaf, &old, &new], Ok("root")),
        ("new first", [&leaf, &new, &old], Ok("root")),
        ("only the old one", [&leaf, &old, &old], Err("CN=Factory: expired")),
    ] {
        check_chain(case, &of_root, &chain, expected);
    }
}

/// A CA that two roots certify: either root may be enrolled, and the two certificates may be sent in either order.
#[test]
fn a_cross_signed_chain_leads_to_either_root() {
    let (one, two) = (Authority::root("One"), Authority::root("Two"));
    let by_one = one.intermediate("Factory");
    let by_two = for_key(&key_of(&by_one), (&two, "Two"), "Factory", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let leaf = by_one.device(DEVICE);
    for chain in
        [[leaf.der(), by_one.identity().der(), &by_two], [leaf.der(), &by_two, by_one.identity().der()]]
    {
        check_chain("one", &[group_of("one", &one)], &chain, Ok("one"));
        check_chain("two", &[group_of("two", &two)], &chain, Ok("two"));
        check_chain("either", &[disabled(group_of("two", &two)), group_of("one", &one)], &chain, Ok("two"));
    }
}

/// The common name is the registration ID; DNS names count if there is none.
#[test]
fn one_name_identifies_the_device() {
    let root = Authority::root("Root");
    let leaf = |common_name: Option<&str>, dns_names: &[&str]| {
        custom(&root, "Root", "x", |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            common_name.into_iter().for_each(|name| {
                params.distinguished_name.push(rcgen::DnType::CommonName, name);
            });
            let san = |name: &&str| rcgen::SanType::DnsName((*name).try_into().unwrap());
            params.subject_alt_names = dns_names.iter().map(san).collect();
        })
    };
    let cases = [
        (Some(DEVICE), &[][..], Ok("root")),
        (Some(DEVICE), &[DEVICE][..], Ok("root")),
        (Some(DEVICE), &["dev-2", "dev-3"][..], Ok("root")),
        (None, &[DEVICE][..], Ok("root")),
        (None, &["DEV-1", "dev-2"][..], Ok("root")),
        (None, &["dev-2", DEVICE][..], Err(r#"no common name, and its first DNS name is "dev-2""#)),
        (None, &[][..], Err(r#"the leaf's common name is """#)),
        (Some("dev-2"), &[DEVICE][..], Err(r#"the leaf's common name is "dev-2""#)),
        (Some(""), &[DEVICE][..], Err(r#"the leaf's common name is """#)),
    ];
    for (common_name, dns_names, expected) in cases {
        let case = format!("{common_name:?} {dns_names:?}");
        check_chain(&case, &[group_of("root", &root)], &[leaf(common_name, dns_names)], expected);
    }
}

#[test]
fn chains_have_at_most_ten_certificates() {
    let root = Authority::root("Root");
    let groups = [group_of("root", &root)];
    for (count, expected) in [(10, Ok("root")), (11, Err("it has 11 certificates"))] {
        let chain = vec![root.device(DEVICE).der().to_vec(); count];
        check_chain(&count.to_string(), &groups, &chain, expected);
    }
}

/// Created by `openssl x509 -req -sha1`, and the same with `-sha256`; version 1, as that command does.
#[test]
fn signatures_over_sha_1_are_refused() {
    let certificate = |pem| Certificate::parse(pem).unwrap();
    let root = certificate(include_str!("../fixtures/root.pem"));
    let groups = [group("root", Some(&root), None)];
    let later = Timestamp::parse("2027-06-01T00:00:00Z").unwrap();
    let cases = [
        ("SHA-256", include_str!("../fixtures/leaf-sha256.pem"), Ok("root")),
        (
            "SHA-1",
            include_str!("../fixtures/leaf-sha1.pem"),
            Err("is signed by an algorithm that is not accepted"),
        ),
    ];
    for (case, pem, expected) in cases {
        let evidence = certificates(&[certificate(pem).der()]);
        check(case, by_group(&groups, &evidence, DEVICE, later), expected);
    }
}
