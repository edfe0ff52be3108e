//! Every encoding of certificates, revocation lists and keys, in every place that reads them: all places accept the same.

use certpath::Crl;
use fleet::{CertificateAuthority, Trust};
use model::Certificate;
use net::tls::Identity;
use provisioning::ports::Clock;
use serde_json::{Value, json};
use testkit::{
    ca::{Authority, Identity as Made},
    crl::Revocations,
    documents::forms,
};

use crate::program::World;

/// A CA, its revocation list, and a device certificate.
struct Plant {
    ca: Authority,
    leaf: Made,
    list: Vec<u8>,
}

impl Plant {
    fn new() -> Plant {
        let ca = Authority::root("Plant");
        let now = server::SystemClock.now();
        let list = Revocations::made_at(1, now.plus_seconds(-60)).der(&ca);
        Plant { leaf: ca.device("dev-1"), ca, list }
    }

    fn certificates(&self) -> Vec<(String, Vec<u8>)> {
        forms("CERTIFICATE", self.ca.identity().der())
    }

    fn leaves(&self) -> Vec<(String, Vec<u8>)> {
        forms("CERTIFICATE", self.leaf.der())
    }

    fn lists(&self) -> Vec<(String, Vec<u8>)> {
        forms("X509 CRL", &self.list)
    }

    fn keys(&self, of: &Made) -> Vec<(String, Vec<u8>)> {
        forms("PRIVATE KEY", of.key_der())
    }
}

#[test]
fn libraries_read_every_form() {
    let plant = Plant::new();
    let (ca, ca_pem) = (plant.ca.certificate(), plant.ca.identity().pem());
    let key = plant.leaf.key_pem();
    for (form, document) in plant.certificates() {
        assert_eq!(Certificate::parse_all(&document).as_deref(), Ok(std::slice::from_ref(&ca)), "{form}");
        Trust::from_pem(&document).unwrap_or_else(|error| panic!("{form}: {error}"));
        let authority = CertificateAuthority::from_pem(&document, plant.ca.identity().key_pem().as_bytes());
        assert_eq!(authority.unwrap_or_else(|error| panic!("{form}: {error}")).pem(), ca.to_pem(), "{form}");
    }
    for (form, document) in plant.leaves() {
        let identity = Identity::from_pem(&document, key.as_bytes());
        assert_eq!(identity.unwrap_or_else(|error| panic!("{form}: {error}")).chain().len(), 1, "{form}");
    }
    for (form, document) in plant.keys(&plant.leaf) {
        let identity = Identity::from_pem(plant.leaf.pem().as_bytes(), &document);
        identity.unwrap_or_else(|error| panic!("{form}: {error}"));
    }
    for (form, document) in plant.keys(plant.ca.identity()) {
        let authority = CertificateAuthority::from_pem(ca_pem.as_bytes(), &document);
        authority.unwrap_or_else(|error| panic!("{form}: {error}"));
    }
    for (form, document) in plant.lists() {
        assert_eq!(Crl::from_bytes(&document).unwrap().der(), plant.list, "{form}");
    }
}

/// Binary forms are left out, because they cannot be in JSON.
#[tokio::test(flavor = "multi_thread")]
async fn routes_read_every_text_form() {
    let (world, plant) = (World::start().await, Plant::new());
    let mut service = world.service();
    let text = |document: Vec<u8>| String::from_utf8(document).ok();
    let x509 =
        |name: &str, text: &str| json!({"type": "x509", "x509": {name: {"primary": {"certificate": text}}}});
    for (at, (form, document)) in plant.certificates().into_iter().enumerate() {
        let Some(text) = text(document) else { continue };
        let upload =
            fleet::Upload { name: "plant", certificate: &text, is_verified: Some(true), if_match: Some("*") };
        let uploaded =
            service.put_ca_certificate(upload).await.unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(uploaded["properties"]["subject"], "CN=Plant", "{form}");
        let group = json!({"enrollmentGroupId": "line", "attestation": x509("signingCertificates", &text)});
        let put = service
            .put_enrollment((fleet::EnrollmentKind::Group, "line"), &group, (at > 0).then_some("*"))
            .await;
        put.unwrap_or_else(|error| panic!("{form}: {error}"));
        let access =
            "HostName=cloud.example;SharedAccessKeyName=owner;SharedAccessKey=YWFhYWFhYWFhYWFhYWFhYQ==";
        let link = json!({"connectionString": access, "caCertificates": text, "allocationWeight": 1});
        let linked = service.put_linked_hub("cloud.example", &link, None, fleet::LinkCheck::Skip).await;
        linked.unwrap_or_else(|error| panic!("{form}: {error}"));
        service.unlink_hub("cloud.example").await.unwrap();
    }
    for (at, (form, document)) in plant.leaves().into_iter().enumerate() {
        let Some(text) = text(document) else { continue };
        let device = json!({"registrationId": "dev-1", "attestation": x509("clientCertificates", &text)});
        let put = service
            .put_enrollment((fleet::EnrollmentKind::Individual, "dev-1"), &device, (at > 0).then_some("*"))
            .await;
        put.unwrap_or_else(|error| panic!("{form}: {error}"));
        let thumbprint = plant.leaf.certificate().thumbprint().to_string();
        let block = service.block(&thumbprint, &json!({"reason": "stolen", "certificate": text})).await;
        assert_eq!(block.unwrap_or_else(|error| panic!("{form}: {error}"))["subject"], "CN=dev-1", "{form}");
        service.unblock(&thumbprint).await.unwrap();
        let explained = service.explain(&json!({"registrationId": "dev-1", "certificates": [text]})).await;
        let explained = explained.unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(explained["outcome"], "admitted", "{form}: {explained}");
    }
    for (form, document) in plant.lists() {
        let Some(text) = text(document) else { continue };
        let put = service.put_revocation("plant", &json!({"list": text})).await;
        put.unwrap_or_else(|error| panic!("{form}: {error}"));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_read_every_form() {
    let (world, plant) = (World::start().await, Plant::new());
    let file = |name: &str, content: &[u8]| {
        let path = world.dir().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let runs = async |form: &str, command: &[&str], arguments: &[&str]| {
        let ended = world.muster(command, arguments).await;
        assert_eq!(ended.code, 0, "{form}, {command:?}: {ended:?}");
        ended
    };
    let (ca, leaf) = (
        file("plant-ca.pem", plant.ca.identity().pem().as_bytes()),
        file("plant-leaf.pem", plant.leaf.pem().as_bytes()),
    );
    let key = file("plant-leaf.key", plant.leaf.key_pem().as_bytes());
    for (at, (form, document)) in plant.certificates().into_iter().enumerate() {
        let file = file("form", &document);
        verify(&form, &[&file], &leaf).await;
        runs(&form, &["certificate", "upload"], &["plant", &file, "--verified", "--replace"]).await;
        let group = ["--group", "line", "--certificate", &file, "--replace"];
        let group = if at == 0 { &group[..4] } else { &group };
        runs(&form, &["enrollment", "create"], group).await;
        runs(&form, &["certificate", "block"], &["--file", &file, "--reason", "a drill"]).await;
        runs(&form, &["certificate", "unblock"], &["--file", &file]).await;
    }
    for (form, document) in plant.leaves() {
        let file = file("form", &document);
        verify(&form, &[&ca], &file).await;
        let explained =
            runs(&form, &["attest", "explain"], &["--registration-id", "dev-1", "--cert", &file]).await;
        assert!(explained.stdout.contains("line"), "{form}: {explained:?}");
        runs(
            &form,
            &["device", "register"],
            &["--registration-id", "dev-1", "--cert", &file, "--cert-key", &key],
        )
        .await;
    }
    for (form, document) in plant.keys(&plant.leaf) {
        let file = file("form", &document);
        runs(
            &form,
            &["device", "register"],
            &["--registration-id", "dev-1", "--cert", &leaf, "--cert-key", &file],
        )
        .await;
    }
    for (form, document) in plant.keys(plant.ca.identity()) {
        runs(&form, &["certificate", "verify"], &["plant", "--ca-key", &file("form", &document)]).await;
    }
    for (form, document) in plant.lists() {
        runs(&form, &["certificate", "crl", "upload"], &["plant", &file("form", &document)]).await;
    }
    let settings = file("settings.json", "\u{FEFF}{\"provisioningStatus\": \"disabled\"}".as_bytes());
    let created =
        runs("a mark", &["enrollment", "create"], &["keyed", "--symmetric-key", "--settings", &settings])
            .await;
    assert_eq!(created.json()["provisioningStatus"], Value::from("disabled"));
    world.stop().await;
}

/// Runs `muster cert verify`, which needs no service.
async fn verify(form: &str, anchors: &[&str], leaf: &str) {
    let mut arguments = vec!["cert", "verify", "--leaf", leaf];
    arguments.extend(anchors.iter().flat_map(|anchor| ["--anchor", anchor]));
    let ended = crate::program::muster(arguments).await;
    assert_eq!(ended.code, 0, "{form}: {ended:?}");
}
