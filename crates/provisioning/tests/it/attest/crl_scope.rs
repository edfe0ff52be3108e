//! Which certificates a revocation list covers (RFC 5280 §6.3.3), case by case as in PKITS 4.14, under a hard policy.
//!
//! `openssl verify -crl_check -extended_crl` verifies each case as well; where its verdict differs, the row says why.

use std::{fs, path::Path, process::Command, sync::Arc};

use model::{CaCertificate, CrlAddresses, RevocationSettings, Timestamp};
use testkit::{
    ca::{Authority, Form, Identity, Profile},
    crl::{Point, PointName, Revocations, Scope, points},
    sample,
};

use super::{
    case::{DEVICE, NOW, check, group_of},
    trust::Known,
};

const A: &str = "http://crl.example/a";
const B: &str = "http://crl.example/b";
const C: &str = "http://crl.example/c";

/// Key and CA compromise, and all other reasons.
const COMPROMISE: [usize; 2] = [1, 2];
const OTHERS: [usize; 6] = [3, 4, 5, 6, 7, 8];

/// A list of the root, and whether it names the certificate in question.
type List = (Option<Scope>, bool);

struct Case {
    name: &'static str,
    /// Whether the certificate in question is an intermediate CA, not the device's.
    is_ca: bool,
    /// Its distribution points.
    points: Vec<Point>,
    lists: Vec<List>,
    expected: Expected,
    openssl: Openssl,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Admitted,
    Revoked,
    Uncovered,
}
use Expected::{Admitted, Revoked, Uncovered};

/// Whether the verdict of OpenSSL is the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Openssl {
    Agrees,
    /// The reason for the difference.
    Differs(&'static str),
}

fn device(name: &'static str, points: &[Point], lists: Vec<List>, expected: Expected) -> Case {
    Case { name, is_ca: false, points: points.to_vec(), lists, expected, openssl: Openssl::Agrees }
}

fn ca(name: &'static str, lists: Vec<List>, expected: Expected) -> Case {
    Case { is_ca: true, ..device(name, &[], lists, expected) }
}

fn differs(case: Case, why: &'static str) -> Case {
    Case { openssl: Openssl::Differs(why), ..case }
}

/// Returns a list of this scope that does not name the certificate.
fn silent(scope: Scope) -> List {
    (Some(scope), false)
}

fn at(uri: &'static str) -> List {
    silent(Scope::of(uri))
}

fn of_reasons(point: Option<&'static str>, reasons: &[usize]) -> Scope {
    Scope { reasons: reasons.to_vec(), ..point.map(Scope::of).unwrap_or_default() }
}

fn named(names: &[PointName]) -> Scope {
    Scope { point: names.to_vec(), ..Scope::default() }
}

fn by_names(names: &[PointName]) -> Point {
    Point { names: names.to_vec(), ..Point::default() }
}

fn by_reasons(uri: &'static str, reasons: &[usize]) -> Point {
    Point { reasons: reasons.to_vec(), ..Point::of(uri) }
}

/// Returns cases of complete lists, and of those of distribution points (PKITS 4.14.1 to 4.14.10).
fn distribution_points() -> Vec<Case> {
    let whole = || (None, false);
    let users_at = |uri| silent(Scope { only_users: true, ..Scope::of(uri) });
    let full = PointName::Directory(&["Root", "Shard"]);
    let (relative, other) = (PointName::Relative("Shard"), PointName::Relative("Other"));
    vec![
        device("complete, no point", &[], vec![whole()], Admitted),
        device("complete, a point", &[Point::of(A)], vec![whole()], Admitted),
        device("complete and named", &[Point::of(A)], vec![(None, true)], Revoked),
        device("its point", &[Point::of(A)], vec![at(A)], Admitted),
        device("its point and named", &[Point::of(A)], vec![(Some(Scope::of(A)), true)], Revoked),
        device("another point", &[Point::of(B)], vec![at(A)], Uncovered),
        device("no point, list of one", &[], vec![at(A)], Uncovered),
        device("two points, list of one", &[Point::of(A), Point::of(B)], vec![at(B)], Admitted),
        device("its shard among others", &[Point::of(B)], vec![at(A), at(B), at(C)], Admitted),
        device("not its shard", &[Point::of(B)], vec![at(A), at(C)], Uncovered),
        device("named by its shard", &[Point::of(B)], vec![at(A), (Some(Scope::of(B)), true)], Revoked),
        device(
            "one name in common",
            &[by_names(&[PointName::Uri(B), PointName::Uri(C)])],
            vec![silent(named(&[PointName::Uri(A), PointName::Uri(B)]))],
            Admitted,
        ),
        device(
            "a relative name, a full list",
            &[by_names(&[relative])],
            vec![silent(named(&[full]))],
            Admitted,
        ),
        device(
            "a full name, a relative list",
            &[by_names(&[full])],
            vec![silent(named(&[relative]))],
            Admitted,
        ),
        device("both relative", &[by_names(&[relative])], vec![silent(named(&[relative]))], Admitted),
        device("another relative name", &[by_names(&[relative])], vec![silent(named(&[other]))], Uncovered),
        device("step-ca's list, its point", &[Point::of(A)], vec![users_at(A)], Admitted),
        device("step-ca's list, no point", &[], vec![users_at(A)], Uncovered),
        differs(
            device(
                "the issuer's name as point",
                &[],
                vec![silent(named(&[PointName::Directory(&["Root"])]))],
                Admitted,
            ),
            "RFC 5280 §6.3.3 assumes a point of that name; OpenSSL does not",
        ),
        device("a point without names", &[Point::default()], vec![at(A)], Uncovered),
    ]
}

/// Returns cases of kinds of certificate, reasons, and lists of other CAs (PKITS 4.14.11 to 4.14.35).
fn kinds_and_reasons() -> Vec<Case> {
    let users = || silent(Scope { only_users: true, ..Scope::default() });
    let cas = || silent(Scope { only_cas: true, ..Scope::default() });
    let attributes = || silent(Scope { only_attributes: true, ..Scope::default() });
    let some = |point, reasons: &[usize]| silent(of_reasons(point, reasons));
    let split = [by_reasons(A, &COMPROMISE), by_reasons(B, &OTHERS)];
    let signed_by = |signer| Point { signer: Some(signer), ..Point::of(A) };
    vec![
        device("users alone, a device", &[], vec![users()], Admitted),
        ca("users alone, a CA", vec![users()], Uncovered),
        ca("users alone, a CA that is named", vec![(users().0, true)], Revoked),
        ca("users and CAs apart, a CA", vec![users(), cas()], Admitted),
        device("CAs alone, a device", &[], vec![cas()], Uncovered),
        ca("CAs alone, a CA", vec![cas()], Admitted),
        device("attributes alone", &[], vec![attributes()], Uncovered),
        device(
            "users and CAs at once",
            &[],
            vec![silent(Scope { only_users: true, only_cas: true, ..Scope::default() })],
            Uncovered,
        ),
        device("some reasons", &[], vec![some(None, &COMPROMISE)], Uncovered),
        device("all reasons in two lists", &[], vec![some(None, &COMPROMISE), some(None, &OTHERS)], Admitted),
        device(
            "named for other reasons",
            &[],
            vec![some(None, &COMPROMISE), (Some(of_reasons(None, &OTHERS)), true)],
            Revoked,
        ),
        device("all but one reason", &[], vec![some(None, &COMPROMISE), some(None, &OTHERS[1..])], Uncovered),
        device("points by reason", &split, vec![at(A), at(B)], Admitted),
        device("points by reason, one list", &split, vec![at(A)], Uncovered),
        device(
            "points and lists by reason",
            &split,
            vec![some(Some(A), &COMPROMISE), some(Some(B), &OTHERS)],
            Admitted,
        ),
        device(
            "lists of the other's reasons",
            &split,
            vec![some(Some(A), &OTHERS), some(Some(B), &COMPROMISE)],
            Uncovered,
        ),
        device("a point of another CA's lists", &[signed_by("Other")], vec![at(A)], Uncovered),
        device("a point that names its own issuer", &[signed_by("Root")], vec![at(A)], Admitted),
        device("a complete list beside one", &[signed_by("Other")], vec![at(A), (None, false)], Admitted),
    ]
}

/// A root with a hard policy, and the certificates that it issued for a case.
struct Scene {
    root: Authority,
    device: Identity,
    intermediate: Option<Authority>,
}

impl Scene {
    fn of(case: &Case) -> Scene {
        let root = Authority::root("Root");
        let crl_points = (!case.points.is_empty()).then(|| points(&case.points));
        if case.is_ca {
            let intermediate = root.authority(&Profile { crl_points, ..Profile::ca("Line") });
            let device = intermediate.device(DEVICE);
            return Scene { root, device, intermediate: Some(intermediate) };
        }
        let device = root.issue(&Profile { crl_points, ..Profile::device(DEVICE) });
        Scene { root, device, intermediate: None }
    }

    /// Returns the certificate in question.
    fn subject(&self) -> &Identity {
        self.intermediate.as_ref().map_or(&self.device, Authority::identity)
    }

    fn chain(&self) -> Vec<Vec<u8>> {
        self.intermediate.as_ref().unwrap_or(&self.root).chain_of(&self.device)
    }

    fn list(&self, at: usize, (scope, names_it): &List) -> Revocations {
        let list = Revocations { scope: scope.clone(), ..Revocations::made_at(at as u64 + 1, NOW) };
        if *names_it { list.revoke(self.subject().der()) } else { list }
    }
}

#[test]
fn a_list_clears_the_certificates_in_its_scope_only() {
    for case in distribution_points().iter().chain(&kinds_and_reasons()) {
        let scene = Scene::of(case);
        let lists: Vec<_> = case.lists.iter().enumerate().map(|(at, list)| scene.list(at, list)).collect();
        let known = Known::default().ca("root", &scene.root, true);
        let known = lists.iter().fold(known, |known, list| known.list("root", &scene.root, list));
        let groups = [group_of("line", &scene.root)];
        let expected = match case.expected {
            Admitted => Ok("line"),
            Revoked => Err("was revoked by the CA root"),
            Uncovered => Err("the fresh ones are of other distribution points"),
        };
        // Under a soft policy only named certificates are refused.
        let under_soft = if case.expected == Revoked { expected } else { Ok("line") };
        check(case.name, known.attest(&groups, &scene.chain()), under_soft);
        check(case.name, known.hard("root").attest(&groups, &scene.chain()), expected);

        let is_taken = openssl_accepts(&scene, &lists);
        let agrees = is_taken == (case.expected == Admitted);
        assert_eq!(agrees, case.openssl == Openssl::Agrees, "{}: openssl takes it: {is_taken}", case.name);
    }
}

/// Returns whether OpenSSL, which must be installed, accepts the certificate in question.
fn openssl_accepts(scene: &Scene, lists: &[Revocations]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let crls: String = lists.iter().map(|list| list.pem(&scene.root)).collect();
    let root = write("root.pem", &scene.root.identity().pem());
    let (crls, subject) = (write("lists.pem", &crls), write("subject.pem", &scene.subject().pem()));
    let path = |file: &Path| file.to_str().unwrap().to_owned();
    let output = Command::new("openssl")
        .args(["verify", "-crl_check", "-extended_crl", "-attime", &NOW.unix_seconds().to_string()])
        .args(["-CAfile", &path(&root), "-CRLfile", &path(&crls), &path(&subject)])
        .output()
        .unwrap_or_else(|error| {
            panic!("openssl must be installed, for this test is held against it: {error}")
        });
    output.status.success()
}

/// A CA that divides its list names the part in its certificates. If it does not, and its list has a distribution point all the
/// same (as those of step-ca), the only address from which the list is fetched counts.
#[test]
fn a_certificate_without_a_point_is_in_the_list_from_the_only_address() {
    let root = Authority::root("Root");
    let groups = [group_of("line", &root)];
    let chain = [root.device(DEVICE).der().to_vec()];
    let users = Scope { only_users: true, ..Scope::of(A) };
    let lists =
        [Revocations::made_at(1, NOW).covering(users), Revocations::made_at(1, NOW).covering(Scope::of(B))];
    let uncovered = Err("the fresh ones are of other distribution points");
    for (case, addresses, expected) in [
        ("none", &[][..], uncovered),
        ("its own", &[A], Ok("line")),
        ("another", &[C], uncovered),
        ("one of two", &[A, B], uncovered),
    ] {
        let known =
            lists.iter().fold(Known::default().ca("root", &root, true).hard("root"), |known, list| {
                known.list("root", &root, list)
            });
        let known = fetched_from(known, addresses);
        check(case, known.attest(&groups, &chain), expected);
    }
}

fn fetched_from(mut known: Known, addresses: &[&str]) -> Known {
    let name = sample::ca_reference("root");
    let stored = known.trust.certificate(&name).unwrap();
    let addresses = addresses.iter().map(|text| model::HttpUrl::parse(text).unwrap());
    let revocation = RevocationSettings {
        fetched_from: CrlAddresses::new(addresses).unwrap(),
        ..stored.revocation.clone()
    };
    let changed = CaCertificate { revocation, ..CaCertificate::clone(stored) };
    known.trust.put_certificate(Arc::new(changed));
    known
}

#[test]
fn a_list_without_a_date_for_the_next_is_stale_by_age() {
    let root = Authority::root("Root");
    let groups = [group_of("line", &root)];
    let chain = [root.device(DEVICE).der().to_vec()];
    let days_ago = |days: i64| Timestamp::from_unix_seconds(NOW.unix_seconds() - days * 86_400);
    for (made, next, expected) in [
        (days_ago(30), None, Ok("line")),
        (days_ago(31), None, Err("all are stale")),
        (days_ago(31), Some(NOW), Ok("line")),
        (days_ago(2), Some(days_ago(1)), Err("all are stale")),
    ] {
        let list = Revocations { next_update: next, ..Revocations::made_at(1, made) };
        let known = Known::default().ca("root", &root, true).hard("root").list("root", &root, &list);
        check(&format!("made {made}, next {next:?}"), known.attest(&groups, &chain), expected);
    }
}

/// The certificates that it names are refused all the same.
#[test]
fn a_ca_without_crl_sign_clears_nothing() {
    for (form, expected) in
        [(Form::Ca, Ok("line")), (Form::Bare, Ok("line")), (Form::CaWithoutCrlSign, Err("there is none"))]
    {
        let root = Authority::self_signed(&Profile { form, ..Profile::ca("Root") });
        let groups = [group_of("line", &root)];
        let device = root.device(DEVICE);
        let list = Revocations::made_at(1, NOW);
        let known = |list: &Revocations| {
            Known::default().ca("root", &root, true).hard("root").list("root", &root, list)
        };
        check(&format!("{form:?}"), known(&list).attest(&groups, &[device.der()]), expected);
        let naming = known(&list.revoke(device.der()));
        check(
            &format!("{form:?}"),
            naming.attest(&groups, &[device.der()]),
            Err("was revoked by the CA root"),
        );
    }
}
