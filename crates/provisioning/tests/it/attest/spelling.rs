//! Names in different string types, as OpenSSL's string masks, Windows and mbedTLS write them.

use model::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use testkit::ca::Authority;

use super::{
    case::{DEVICE, NOW, by_group, certificates, check, group, key_of},
    trust::Known,
};

/// Returns a text in each string type that a name may have.
fn spellings(text: &str) -> [DnValue; 4] {
    [
        DnValue::Utf8String(text.into()),
        DnValue::PrintableString(text.try_into().unwrap()),
        DnValue::TeletexString(text.try_into().unwrap()),
        DnValue::BmpString(text.try_into().unwrap()),
    ]
}

fn named(common_name: DnValue) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1));
    params
}

fn ca(common_name: DnValue) -> CertificateParams {
    let mut params = named(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

#[test]
fn a_device_is_known_by_its_name_in_every_string_type() {
    let root = Authority::root("Root");
    let groups = [group("root", Some(&root.certificate()), None)];
    for name in spellings(DEVICE) {
        let issuer = Issuer::new(ca("Root".into()), key_of(&root));
        let leaf = named(name.clone()).signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        check(&format!("{name:?}"), by_group(&groups, &certificates(&[leaf.der()]), DEVICE, NOW), Ok("root"));
    }
    let issuer = Issuer::new(ca("Root".into()), key_of(&root));
    let leaf = named(DnValue::BmpString("dev-2".try_into().unwrap()));
    let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    let decided = by_group(&groups, &certificates(&[leaf.der()]), DEVICE, NOW);
    check("another", decided, Err(r#"the leaf's common name is "dev-2""#));
}

/// A CA writes its own name in one type, and its issuer's name in each certificate in another.
#[test]
fn chains_are_linked_by_the_values_of_names() {
    for subject in spellings("Plant CA") {
        for issuer in spellings("PLANT  CA") {
            let case = format!("{subject:?} {issuer:?}");
            let (key, leaf_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
            let root = Authority::root("Root");
            let by_root = Issuer::new(ca(DnValue::BmpString("root".try_into().unwrap())), key_of(&root));
            let plant = ca(subject.clone()).signed_by(&key, &by_root).unwrap().der().to_vec();
            let leaf = named(DEVICE.into()).signed_by(&leaf_key, &Issuer::new(ca(issuer), key)).unwrap();
            let whole = [leaf.der().to_vec(), plant.clone()];
            // The CA's certificate as the group's own, sent, and stored.
            let plant = Certificate::from_der(&plant).unwrap();
            let known = Known::default();
            let own = [group("own", Some(&plant), None)];
            let of_root = [group("root", Some(&root.certificate()), None)];
            check(&case, known.attest(&own, &whole[..1]), Ok("own"));
            check(&case, known.attest(&of_root, &whole), Ok("root"));
            let known = Known::default().certificate("plant", &plant);
            check(&case, known.attest(&of_root, &whole[..1]), Ok("root"));
            // Blocks are found by the same names.
            let refused = known.blocking(&plant).attest(&of_root, &whole[..1]);
            check(&case, refused, Err("is blocked"));
        }
    }
}
