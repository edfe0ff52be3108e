//! Name constraints: a CA that may issue for some names only.

use certpath::{LeafName, PathError, leaf_name};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CustomExtension, DistinguishedName, DnType,
    GeneralSubtree, IsCa, NameConstraints, PKCS_ECDSA_P256_SHA256 as P256, SanType,
};

use crate::ca::{self, Ca, authority, named, presented};

const DEVICE: &str = "dev-1";

/// The name of a leaf with a valid path, or the error.
type Verified = Result<LeafName, PathError>;

/// Verifies a leaf of a factory whose certificate has these constraints, with its alternative names.
fn decide(
    (permitted, excluded): (Vec<GeneralSubtree>, Vec<GeneralSubtree>),
    names: Vec<SanType>,
) -> Verified {
    let constraints = NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded };
    issued(|factory| factory.name_constraints = Some(constraints), |leaf| leaf.subject_alt_names = names)
}

/// Verifies a leaf whose shape and whose factory's shape are given.
fn issued(
    shape_factory: impl FnOnce(&mut CertificateParams),
    shape_leaf: impl FnOnce(&mut CertificateParams),
) -> Verified {
    let (mut factory, mut leaf) = (authority("Factory"), named(DEVICE));
    shape_factory(&mut factory);
    shape_leaf(&mut leaf);
    let factory = Ca::root("Root", &P256).below(factory, &P256);
    verified(&[vec![factory.issue(leaf)], factory.chain].concat())
}

/// Verifies a chain up to the root, its last certificate.
fn verified(chain: &[Vec<u8>]) -> Verified {
    let presented = presented(chain)?;
    ca::search(&presented, &[&chain[chain.len() - 1]])?.path?;
    Ok(leaf_name(presented.leaf()))
}

fn common(name: &str) -> LeafName {
    LeafName::Common(name.to_owned())
}

/// Fails unless the leaf is valid, or the error begins with this text.
#[track_caller]
fn check(case: &str, verified: Verified, expected: Result<(), &str>) {
    match (verified, expected) {
        (Ok(_), Ok(())) => {}
        (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{case}: {error}"),
        (verified, _) => panic!("{case}: {verified:?} instead of {expected:?}"),
    }
}

fn directory(parts: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    parts.iter().for_each(|(kind, text)| name.push(kind.clone(), *text));
    name
}

fn dns(name: &str) -> GeneralSubtree {
    GeneralSubtree::DnsName(name.into())
}

fn san(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn mail(address: &str) -> SanType {
    SanType::Rfc822Name(address.try_into().unwrap())
}

#[test]
fn a_constrained_ca_issues_within_its_names_only() {
    let range = || GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([192, 0, 2, 0], 24));
    let address = |last| SanType::IpAddress([192, 0, 2, last].into());
    let forbidden = Err("CN=Factory: may not issue for");
    let let_in = Ok(());
    // The common name is bound as well: see below.
    let dns_or_own = |name| vec![dns(name), dns(DEVICE)];
    let cases = [
        ("permitted", (dns_or_own("example"), vec![]), vec![san("dev-1.example")], let_in),
        ("not permitted", (dns_or_own("example"), vec![]), vec![san("dev-1.other")], forbidden),
        ("one of two", (dns_or_own("example"), vec![]), vec![san("dev-1.example"), san("x")], forbidden),
        ("either subtree", (dns_or_own("a"), vec![]), vec![san("x.a"), san("x.dev-1")], let_in),
        ("excluded", (vec![], vec![dns("example")]), vec![san("dev-1.example")], forbidden),
        ("not excluded", (vec![], vec![dns("example")]), vec![san("dev-1.other")], let_in),
        ("below a dot", (dns_or_own(".example"), vec![]), vec![san("dev-1.example")], let_in),
        ("at a dot", (dns_or_own(".example"), vec![]), vec![san("example")], forbidden),
        ("both", (dns_or_own("example"), vec![dns("x.example")]), vec![san("y.x.example")], forbidden),
        ("a wildcard", (vec![], vec![dns("x.example")]), vec![san("*.example")], forbidden),
        ("of another form", (vec![range()], vec![]), vec![san("dev-1.other")], let_in),
        ("an address", (vec![range()], vec![]), vec![address(7)], let_in),
        ("an address excluded", (vec![], vec![range()]), vec![address(7)], forbidden),
        (
            "a mail address",
            (vec![GeneralSubtree::Rfc822Name("example".into())], vec![]),
            vec![mail("me@example")],
            let_in,
        ),
        (
            "a mail address elsewhere",
            (vec![GeneralSubtree::Rfc822Name("example".into())], vec![]),
            vec![mail("me@other")],
            forbidden,
        ),
    ];
    for (case, constraints, names, expected) in cases {
        check(case, decide(constraints, names), expected);
    }
}

/// The RFC does not constrain common names; but here they identify the leaf, whatever other names it has.
#[test]
fn the_common_name_of_a_leaf_is_constrained() {
    let forbidden = Err(r#"CN=Factory: may not issue for the common name "dev-1""#);
    let plant = || vec![dns("plant-a.example")];
    let own = || vec![dns(DEVICE)];
    let cases = [
        ("not permitted", (plant(), vec![]), vec![], forbidden),
        (
            "not permitted, beside a DNS name that is",
            (plant(), vec![]),
            vec![san("x.plant-a.example")],
            forbidden,
        ),
        ("permitted", (own(), vec![]), vec![], Ok(())),
        (
            "permitted, and its DNS name is not",
            (own(), vec![]),
            vec![san("x")],
            Err("may not issue for DNSName(x)"),
        ),
        (
            "permitted, as is its DNS name",
            ([own(), plant()].concat(), vec![]),
            vec![san("plant-a.example")],
            Ok(()),
        ),
        ("excluded", (vec![], own()), vec![], forbidden),
        (
            "excluded, beside a DNS name that is not",
            (vec![], own()),
            vec![san("x.plant-a.example")],
            forbidden,
        ),
        ("not excluded", (vec![], plant()), vec![], Ok(())),
    ];
    for (case, constraints, names, expected) in cases {
        check(case, decide(constraints, names), expected);
    }
}

/// A common name need not be a host name: it may be a MAC address.
#[test]
fn a_name_that_is_not_a_dns_name_lies_in_no_domain() {
    let mac = "00:11:22:33:44:55";
    let decide = |permitted_subtrees, excluded_subtrees| {
        let constraints = NameConstraints { permitted_subtrees, excluded_subtrees };
        let name = |leaf: &mut CertificateParams| {
            leaf.distinguished_name = directory(&[(DnType::CommonName, mac)]);
        };
        issued(|factory| factory.name_constraints = Some(constraints), name)
    };
    check("not excluded", decide(vec![], vec![dns("plant-a.example")]), Ok(()));
    let forbidden = Err(r#"CN=Factory: may not issue for the common name "00:11:22:33:44:55""#);
    check("not permitted", decide(vec![dns("plant-a.example")], vec![]), forbidden);
    check("all permitted", decide(vec![dns("")], vec![]), Ok(()));
}

/// Every leaf that a constrained CA issues: it has a valid path under names that the constraints allow, and under no other.
#[test]
fn no_leaf_of_a_constrained_ca_has_a_name_that_is_forbidden() {
    let names = ["dev-1", "x.dev-1", "victim", "x.victim"];
    for (permitted, excluded) in [(vec![dns("dev-1")], vec![]), (vec![], vec![dns("victim")])] {
        for common_name in names.map(Some).into_iter().chain([None]) {
            for dns_name in names.map(Some).into_iter().chain([None]) {
                let constraints = NameConstraints {
                    permitted_subtrees: permitted.clone(),
                    excluded_subtrees: excluded.clone(),
                };
                let shape = |leaf: &mut CertificateParams| {
                    let common_name: Vec<_> =
                        common_name.map(|it| (DnType::CommonName, it)).into_iter().collect();
                    leaf.distinguished_name = directory(&common_name);
                    leaf.subject_alt_names = dns_name.map(san).into_iter().collect();
                };
                let verified = issued(|factory| factory.name_constraints = Some(constraints), shape);
                let is_allowed = |name: Option<&str>| name.is_none_or(|name| name.ends_with("dev-1"));
                let expected = is_allowed(common_name) && is_allowed(dns_name);
                assert_eq!(verified.is_ok(), expected, "{common_name:?} {dns_name:?}");
                match (verified, common_name, dns_name) {
                    (Ok(name), Some(own), _) => assert_eq!(name, common(own)),
                    (Ok(name), None, Some(own)) => assert_eq!(name, LeafName::Dns(own.to_owned())),
                    (Ok(name), None, None) => assert_eq!(name, LeafName::None),
                    (Err(_), ..) => {}
                }
            }
        }
    }
}

#[test]
fn subjects_are_constrained() {
    let subtree = |parts: &[_]| GeneralSubtree::DirectoryName(directory(parts));
    let of_acme = || (vec![subtree(&[(DnType::OrganizationName, "ACME")])], vec![]);
    let subject = |organization: &'static str| {
        move |leaf: &mut CertificateParams| {
            let parts = [(DnType::OrganizationName, organization), (DnType::CommonName, DEVICE)];
            leaf.distinguished_name = directory(&parts);
        }
    };
    let decide = |(permitted_subtrees, excluded_subtrees), organization| {
        let constraints = NameConstraints { permitted_subtrees, excluded_subtrees };
        issued(|factory| factory.name_constraints = Some(constraints), subject(organization))
    };
    let forbidden = Err("CN=Factory: may not issue for the subject CN=dev-1, O=");
    check("permitted", decide(of_acme(), "acme"), Ok(()));
    check("not permitted", decide(of_acme(), "Other"), forbidden);
    let (permitted, _) = of_acme();
    check("excluded", decide((vec![], permitted), "Acme"), forbidden);
}

/// The CA has these bytes in place of name constraints.
#[test]
fn constraints_that_cannot_be_read_are_not_overlooked() {
    let example: &[u8] = &[0x30, 0x09, 0x82, 0x07, b'e', b'x', b'a', b'm', b'p', b'l', b'e'];
    let wrap = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    let constraints = |content: &[u8]| wrap(0x30, content);
    let permitted = wrap(0xA0, example);
    let with_minimum = [&[0x30, 0x0C][..], &example[2..], &[0x80, 0x01, 0x00]].concat();
    let unreadable = Err("CN=Factory: has name constraints that cannot be read");
    let cases = [
        ("as they should be", constraints(&permitted), Ok(())),
        ("empty", constraints(&[]), unreadable),
        ("without subtrees", constraints(&[0xA0, 0x00]), Err("CN=Factory: has")),
        ("a minimum", constraints(&wrap(0xA0, &with_minimum)), unreadable),
        ("more behind them", constraints(&[&permitted[..], &[5, 0]].concat()), unreadable),
        ("the wrong way round", constraints(&[wrap(0xA1, example), permitted.clone()].concat()), unreadable),
        ("not a sequence", permitted.clone(), Err("CN=Factory: has")),
    ];
    for (case, der, expected) in cases {
        for critical in [true, false] {
            let extend = |factory: &mut CertificateParams| {
                let mut extension = constraints_of(&der);
                extension.set_criticality(critical);
                factory.custom_extensions.push(extension);
            };
            // Without a common name, which would be bound as well.
            let decided = issued(extend, |leaf| {
                leaf.subject_alt_names = vec![san("dev-1.example")];
                leaf.distinguished_name = DistinguishedName::new();
            });
            check(case, decided, expected);
        }
    }
}

#[test]
fn a_leaf_that_is_not_a_ca_has_no_constraints() {
    let root = Ca::root("Root", &P256);
    let cases = [
        ("a CA", IsCa::Ca(BasicConstraints::Unconstrained), Ok(())),
        ("no CA", IsCa::ExplicitNoCa, Err("CN=dev-1: has name constraints but is not a CA")),
        ("it does not say", IsCa::NoCa, Err("CN=dev-1: has name constraints but is not a CA")),
    ];
    for (case, is_ca, expected) in cases {
        let mut leaf = named(DEVICE);
        leaf.is_ca = is_ca;
        leaf.custom_extensions.push(constraints_of(&[0x30, 0x06, 0xA0, 0x04, 0x30, 0x02, 0x82, 0x00]));
        check(case, verified(&[root.issue(leaf), root.chain[0].clone()]), expected);
    }
}

fn constraints_of(der: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 30], der.to_vec())
}

/// A thousand names under a thousand constraints.
#[test]
fn comparisons_are_bounded() {
    let many = |prefix: &str| (0..500).map(|at| format!("{prefix}{at}.example")).collect::<Vec<_>>();
    let constraints = (many("c").iter().map(|name| dns(name)).collect(), vec![]);
    let names = many("n").iter().map(|name| san(name)).collect();
    let start = std::time::Instant::now();
    check("too many", decide(constraints, names), Err("CN=Factory: has name constraints that"));
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}
