//! Symmetric keys: a token signed with the enrollment's key, or with one derived from the group's.

use std::sync::Arc;

use model::{
    EnrollmentGroup, EnrollmentRef, GroupAttestation, HubCredentials, IndividualAttestation, SymmetricKey,
    SymmetricKeyPair, Timestamp,
};
use provisioning::attest::{self, Attested, Evidence, Refusal};
use testkit::{
    ca::{Identity, Profile},
    sample,
};

use super::case::{self, DEVICE, NOW, SCOPE, check, individual, without_trust};
use crate::register::token::Token;

fn resource() -> String {
    format!("{SCOPE}/registrations/{DEVICE}")
}

fn by_individual(evidence: &Evidence, now: Timestamp) -> Result<Attested, Refusal> {
    let enrollment = individual(IndividualAttestation::SymmetricKey(sample::keys(10)));
    case::by_individual(enrollment, evidence, now)
}

fn by_groups(
    groups: &[Arc<EnrollmentGroup>],
    likely: Option<&str>,
    id: &str,
    evidence: &Evidence,
) -> Result<Attested, Refusal> {
    let likely = likely.map(|id| EnrollmentRef::Group(sample::group_id(id)));
    case::attested(without_trust(id, NOW, evidence, |claimant| {
        attest::symmetric_key_group(groups, likely.as_ref(), claimant).outcome
    }))
}

/// A group with the keys `number` and `number + 1`.
fn group(id: &str, number: u8) -> Arc<EnrollmentGroup> {
    let attestation = GroupAttestation::SymmetricKey(sample::keys(number));
    Arc::new(EnrollmentGroup { attestation, ..sample::group(id) })
}

#[test]
fn either_key_and_no_other() {
    let cases = [(10, Ok("individual")), (11, Ok("individual")), (12, Err("fits neither key"))];
    for (number, expected) in cases {
        let evidence = Token::new(&resource(), &sample::key(number)).evidence();
        check(&number.to_string(), by_individual(&evidence, NOW), expected);
    }
    let attested = by_individual(&Token::new(&resource(), &sample::key(11)).evidence(), NOW).unwrap();
    assert_eq!(*attested.credentials(), HubCredentials::SymmetricKeys(sample::keys(10)), "the hub gets both");
}

#[test]
fn the_token_is_for_this_registration() {
    let fits = Ok("individual");
    let other = Err("not for this registration");
    let resources = [
        ("0ne00000001/registrations/dev-1", fits),
        ("0NE00000001/Registrations/DEV-1", fits),
        ("/0ne00000001/registrations/dev-1", fits),
        ("0ne00000002/registrations/dev-1", other),
        ("0ne00000001/registrations/dev-2", other),
        ("0ne00000001/registrations/dev-1/", fits),
        ("0ne00000001/registrations/dev-1/register", other),
        ("0ne00000001/registrations/dev-1 ", other),
        ("0ne00000001/devices/dev-1", other),
        ("0ne00000001/registrations", other),
        ("0ne00000001", other),
        ("registrations/dev-1", other),
        ("", other),
    ];
    for (resource, expected) in resources {
        let evidence = Token::new(resource, &sample::key(10)).evidence();
        check(resource, by_individual(&evidence, NOW), expected);
    }
}

/// The MAC is over the text as sent; the decoded text is compared with the resource.
#[test]
fn every_spelling_of_the_resource_is_signed_as_sent() {
    for spelling in [
        "0ne00000001/registrations/dev-1",
        "0ne00000001%2Fregistrations%2Fdev-1",
        "0ne00000001%2fregistrations%2fdev-1",
        "0NE00000001%2Fregistrations%2F%64ev%2D1",
    ] {
        let token = Token::new(&resource(), &sample::key(10)).spelled(spelling);
        check(spelling, by_individual(&token.evidence(), NOW), Ok("individual"));
        let mut forged = token.evidence();
        forged.claim.as_mut().unwrap().signed_text = format!("{}\n1", resource());
        check(spelling, by_individual(&forged, NOW), Err("fits neither key"));
    }
}

#[test]
fn a_token_expires() {
    let token = Token::new(&resource(), &sample::key(10));
    let ends = token.ends();
    for (ticks, expected) in
        [(-1, Ok("individual")), (0, Ok("individual")), (1, Err("expired, clock skew included, at"))]
    {
        let now = Timestamp::from_ticks(ends.ticks() + ticks);
        check(&ticks.to_string(), by_individual(&token.evidence(), now), expected);
    }
}

#[test]
fn a_device_without_a_token_is_refused() {
    let none = Evidence::default();
    check("nothing", by_individual(&none, NOW), Err("wants a SAS token and the device sent none"));
    check("nothing", by_groups(&[group("g", 20)], None, DEVICE, &none), Err("the device sent none"));
    let empty = Token::new(&resource(), &sample::key(10)).signed_by(Vec::new());
    check("an empty signature", by_individual(&empty.evidence(), NOW), Err("fits neither key"));
    let mac = Token::new(&resource(), &sample::key(10)).evidence().claim.unwrap().mac;
    let short = Token::new(&resource(), &sample::key(10)).signed_by(mac[..16].to_vec());
    check("half a signature", by_individual(&short.evidence(), NOW), Err("fits neither key"));
}

#[test]
fn a_token_takes_precedence_over_a_certificate() {
    let leaf = Identity::self_signed(&Profile::device(DEVICE));
    let mut evidence = Token::new(&resource(), &sample::key(10)).evidence();
    evidence.certificates = vec![leaf.der().to_vec().into()].into();
    check("both", by_individual(&evidence, NOW), Ok("individual"));
}

#[test]
fn derived_keys_of_either_group_key() {
    let groups = [group("g", 20)];
    for number in [20, 21] {
        let key = sample::key(number).derive(DEVICE);
        let evidence = Token::new(&resource(), &key).evidence();
        let attested = by_groups(&groups, None, DEVICE, &evidence).unwrap();
        let expected = sample::keys(20).derive(DEVICE);
        assert_eq!(*attested.credentials(), HubCredentials::SymmetricKeys(expected));
        check("derived", Ok(attested), Ok("g"));
    }
}

#[test]
fn keys_that_are_not_the_devices() {
    let groups = [group("g", 20)];
    let cases: [(&str, SymmetricKey); 4] = [
        ("the group's own", sample::key(20)),
        ("another device's", sample::key(20).derive("dev-2")),
        ("of another group", sample::key(30).derive(DEVICE)),
        ("derived twice", sample::key(20).derive(DEVICE).derive(DEVICE)),
    ];
    for (case, key) in cases {
        let evidence = Token::new(&resource(), &key).evidence();
        check(case, by_groups(&groups, None, DEVICE, &evidence), Err("fits neither key"));
    }
    let evidence = Token::new(&resource(), &sample::key(20).derive(DEVICE)).evidence();
    check("no groups", by_groups(&[], None, DEVICE, &evidence), Err("no enrollment of this ID scope"));
}

/// Clients differ in which spelling they derive keys from; the credentials are derived from the same one.
#[test]
fn the_id_is_derived_from_as_sent_or_in_lower_case() {
    let groups = [group("g", 20)];
    let cases = [
        ("Dev-A", "Dev-A", true),
        ("Dev-A", "dev-a", true),
        ("dev-a", "dev-a", true),
        ("dev-a", "Dev-A", false),
        ("DEV-A", "Dev-A", false),
    ];
    for (sent, derived_from, fits) in cases {
        let key = sample::key(20).derive(derived_from);
        let evidence = Token::new(&format!("{SCOPE}/registrations/{sent}"), &key).evidence();
        let decided = by_groups(&groups, None, sent, &evidence);
        if fits {
            let expected = sample::keys(20).derive(derived_from);
            let credentials = HubCredentials::SymmetricKeys(expected);
            assert_eq!(decided.as_ref().map(|attested| attested.credentials()), Ok(&credentials));
        }
        let expected = if fits { Ok("g") } else { Err("fits neither key") };
        check(&format!("{sent} with a key for {derived_from}"), decided, expected);
    }
}

#[test]
fn the_group_whose_key_signed_is_found() {
    let groups: Vec<_> = (0..100).map(|n| group(&format!("g{n}"), n * 2)).collect();
    for (number, likely) in
        [(0, None), (57, None), (99, None), (57, Some("g57")), (57, Some("g3")), (57, Some("gone"))]
    {
        let key = sample::key(number * 2 + 1).derive(DEVICE);
        let evidence = Token::new(&resource(), &key).evidence();
        check("several", by_groups(&groups, likely, DEVICE, &evidence), Ok(&format!("g{number}")));
    }
}

/// Two groups with one key can only be distinguished by the device's registration.
#[test]
fn the_likely_group_comes_first() {
    let groups = [group("a", 20), group("b", 20)];
    let evidence = Token::new(&resource(), &sample::key(20).derive(DEVICE)).evidence();
    for (likely, expected) in [(None, "a"), (Some("a"), "a"), (Some("B"), "b"), (Some("c"), "a")] {
        check(&format!("{likely:?}"), by_groups(&groups, likely, DEVICE, &evidence), Ok(expected));
    }
}

#[test]
fn debug_output_has_no_secrets() {
    let keys = SymmetricKeyPair { primary: sample::key(10), secondary: sample::key(11) };
    let evidence = Token::new(&resource(), &keys.primary).evidence();
    let attested = by_individual(&evidence, NOW).unwrap();
    let printed = format!("{evidence:?} {attested:?}");
    assert!(!printed.contains(&keys.primary.to_base64()), "{printed}");
    assert!(!printed.contains("10, 10, 10"), "{printed}");
    let mac = evidence.claim.unwrap().mac;
    assert!(!printed.contains(&format!("{}, {}, {}", mac[0], mac[1], mac[2])), "{printed}");
}
