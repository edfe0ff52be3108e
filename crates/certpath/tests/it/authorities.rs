//! Stored CA certificates, blocks and revocation lists.

use certpath::{
    Anchor, Authorities, Authority, CertificateParts, Circumstances, Crl, CrlMaxAge, Leaf, LeafName, ListGap,
    PathError, Sha256Thumbprint, Time, is_same_name, leaf_name, nearest_path,
};
use rcgen::{
    CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256 as P256, date_time_ymd,
};

use crate::ca::{Ca, NOW, authority, named, presented};

/// A CA certificate under a name, with its settings and lists.
#[derive(Debug)]
struct Stored {
    name: &'static str,
    der: Vec<u8>,
    requires_list: bool,
    list_uris: Vec<&'static str>,
    lists: Vec<Crl>,
}

impl Stored {
    fn authority(&self) -> Authority<'_> {
        Authority {
            name: self.name,
            der: &self.der,
            parts: CertificateParts::read(&self.der),
            requires_list: self.requires_list,
            list_uris: self.list_uris.clone(),
            lists: self.lists.iter().collect(),
        }
    }
}

#[derive(Debug, Default)]
struct Trust {
    stored: Vec<Stored>,
    blocked: Vec<Sha256Thumbprint>,
}

impl Trust {
    fn ca(mut self, name: &'static str, der: &[u8]) -> Self {
        let (der, lists, list_uris) = (der.to_vec(), Vec::new(), Vec::new());
        self.stored.push(Stored { name, der, requires_list: false, list_uris, lists });
        self
    }

    fn list(mut self, crl: Crl) -> Self {
        self.stored.last_mut().unwrap().lists.push(crl);
        self
    }

    fn requiring(mut self) -> Self {
        self.stored.last_mut().unwrap().requires_list = true;
        self
    }

    fn fetched_from(mut self, uri: &'static str) -> Self {
        self.stored.last_mut().unwrap().list_uris.push(uri);
        self
    }

    fn block(mut self, der: &[u8]) -> Self {
        self.blocked.push(Sha256Thumbprint::of(der));
        self
    }

    fn circumstances(&self) -> Circumstances<'_> {
        Circumstances { now: NOW, authorities: self, crl_max_age: CrlMaxAge::default() }
    }

    /// Verifies a chain against one anchor, and returns the length of the path.
    fn verify(&self, chain: &[Vec<u8>], anchor: &[u8]) -> Result<usize, PathError> {
        let chain = presented(chain)?.completed(self);
        let leaf = Leaf::check(chain.leaf(), self.circumstances())?;
        let anchors = [Anchor::for_all(CertificateParts::read(anchor).unwrap(), ())];
        let path = nearest_path(leaf.into(), chain.candidates(), &anchors, self.circumstances()).path?;
        assert_eq!(path.der().last().map(Vec::as_slice), Some(anchor));
        Ok(path.der().len())
    }
}

impl Authorities for Trust {
    fn can_refuse(&self) -> bool {
        !self.blocked.is_empty() || self.stored.iter().any(|ca| ca.requires_list || !ca.lists.is_empty())
    }

    fn block_reason(&self, certificate: &CertificateParts<'_>) -> Option<&str> {
        let thumbprints = certificate.thumbprints();
        thumbprints.iter().any(|it| self.blocked.contains(it)).then_some("stolen")
    }

    fn with_subject(&self, subject: &[u8]) -> Vec<Authority<'_>> {
        let is_named = |ca: &&Stored| {
            CertificateParts::read(&ca.der).is_some_and(|parts| is_same_name(parts.subject, subject))
        };
        self.stored.iter().filter(is_named).map(Stored::authority).collect()
    }
}

fn blocked(subject: &str) -> Result<usize, PathError> {
    Err(PathError::Blocked { subject: subject.to_owned(), reason: "stolen".to_owned() })
}

fn uncovered(gap: ListGap) -> Result<usize, PathError> {
    Err(PathError::Uncovered { ca: "root".to_owned(), subject: "CN=dev-1".to_owned(), gap })
}

#[test]
fn stored_certificates_complete_a_chain() {
    let root = Ca::root("Root", &P256);
    let region = root.intermediate("Region");
    let factory = region.intermediate("Factory");
    let chain = factory.leaf_chain("dev-1");
    let both = Trust::default().ca("region", &region.chain[0]).ca("factory", &factory.chain[0]);
    assert_eq!(both.verify(&chain[..1], &root.chain[0]), Ok(4));
    let other = Trust::default().ca("factory", &Ca::root("Factory", &P256).chain[0]);
    let missing = other.verify(&chain[..1], &root.chain[0]).unwrap_err();
    assert!(matches!(&missing, PathError::MissingIssuer(it) if it.issuer == "CN=Factory"), "{missing}");
    assert!(missing.is_unproven() && !missing.is_by_operator());
}

#[test]
fn a_blocked_certificate_refuses_every_path_through_it() {
    let (root, other) = (Ca::root("Root", &P256), Ca::root("Other", &P256));
    let factory = root.intermediate("Factory");
    let chain = factory.leaf_chain("dev-1");
    let (leaf, sent) = (&chain[0], &chain[..2]);
    let trust = |der: &[u8]| Trust::default().ca("root", &root.chain[0]).block(der);
    assert_eq!(trust(b"nothing").verify(sent, &root.chain[0]), Ok(3));
    assert_eq!(trust(leaf).verify(sent, &root.chain[0]), blocked("CN=dev-1"));
    assert_eq!(trust(&factory.chain[0]).verify(sent, &root.chain[0]), blocked("CN=Factory"));
    assert_eq!(trust(&root.chain[0]).verify(sent, &root.chain[0]), blocked("CN=Root"));
    // Above the anchor, and by a certificate that the peer sends for the same name and key.
    assert_eq!(trust(&root.chain[0]).verify(sent, &factory.chain[0]), blocked("CN=Root"));
    let cross = other.certify(&root, authority("Root"));
    let with_cross = [sent, &[cross.clone(), other.chain[0].clone()]].concat();
    assert_eq!(trust(&root.chain[0]).verify(&with_cross, &factory.chain[0]), blocked("CN=Root"));
    // Not by a namesake of the CA above the anchor.
    let namesake = Ca::root("Root", &P256).chain[0].clone();
    let blocking = Trust::default().ca("root", &namesake).block(&namesake);
    assert_eq!(blocking.verify(sent, &factory.chain[0]), Ok(2));
    // A stored one replaces the blocked one, unless it is expired or blocked as well.
    let stored = trust(&root.chain[0]).ca("cross", &cross);
    assert_eq!(stored.verify(sent, &factory.chain[0]), Ok(2));
    let mut expired = authority("Root");
    expired.not_after = date_time_ymd(2021, 1, 1);
    let expired = trust(&root.chain[0]).ca("cross", &other.certify(&root, expired));
    assert_eq!(expired.verify(sent, &factory.chain[0]), blocked("CN=Root"));
    assert!(stored.block(&cross).verify(sent, &factory.chain[0]).unwrap_err().is_by_operator());
}

#[test]
fn a_list_revokes_the_certificates_that_it_names() {
    let root = Ca::root("Root", &P256);
    let factory = root.intermediate("Factory");
    let chain = factory.leaf_chain("dev-1");
    let trust = |crl: Crl| Trust::default().ca("root", &root.chain[0]).list(crl);
    let revoked = trust(root.crl(&[&factory.chain[0]], (2026, 12, 1), None));
    let error = revoked.verify(&chain[..2], &root.chain[0]).unwrap_err();
    assert!(error.is_by_operator());
    let text = "CN=Factory was revoked by the CA root at 2026-10-01T00:00:00Z (keyCompromise)";
    assert_eq!(error.to_string(), text);
    // Also above the anchor, and also in a stale list; not by the serial number of another CA's certificate.
    assert_eq!(revoked.verify(&chain[..2], &factory.chain[0]).unwrap_err().to_string(), text);
    let stale = trust(root.crl(&[&factory.chain[0]], (2026, 11, 2), None));
    assert_eq!(stale.verify(&chain[..2], &root.chain[0]).unwrap_err().to_string(), text);
    let of_leaf = trust(root.crl(&[&chain[0]], (2026, 12, 1), None));
    assert_eq!(of_leaf.verify(&chain[..2], &root.chain[0]), Ok(3));
    // Nor by the list of another CA of that name.
    let namesake = Ca::root("Root", &P256);
    let both = trust(root.crl(&[], (2026, 12, 1), None)).ca("namesake", &namesake.chain[0]);
    let both = both.list(namesake.crl(&[&factory.chain[0]], (2026, 12, 1), None));
    assert_eq!(both.verify(&chain[..2], &root.chain[0]), Ok(3));
}

#[test]
fn a_required_list_must_be_there_and_fresh_and_cover_the_certificate() {
    let mut with_crl_sign = authority("Root");
    with_crl_sign.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let mut without = authority("Root");
    without.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = Ca::root("Root", &P256);
    let (root_der, without) = (root.certify(&root, with_crl_sign), root.certify(&root, without));
    let chain = [root.issue(named("dev-1"))];
    let trust = || Trust::default().ca("root", &root_der).requiring();
    let fresh = |scope| root.crl(&[], (2026, 12, 1), scope);
    assert_eq!(trust().verify(&chain, &root_der), uncovered(ListGap::Missing));
    assert_eq!(trust().list(fresh(None)).verify(&chain, &root_der), Ok(2));
    let stale = root.crl(&[], (2026, 11, 2), None);
    assert_eq!(trust().list(stale).verify(&chain, &root_der), uncovered(ListGap::Stale));
    let point = |scope| {
        let distribution_point = CrlDistributionPoint { uris: vec!["http://crl.example/a".into()] };
        Some(CrlIssuingDistributionPoint { distribution_point, scope })
    };
    // A certificate without a point is in the list from the only address.
    let scoped = || trust().list(fresh(point(None)));
    assert_eq!(scoped().verify(&chain, &root_der), uncovered(ListGap::Scope));
    assert_eq!(scoped().fetched_from("http://crl.example/a").verify(&chain, &root_der), Ok(2));
    let two = scoped().fetched_from("http://crl.example/a").fetched_from("http://crl.example/b");
    assert_eq!(two.verify(&chain, &root_der), uncovered(ListGap::Scope));
    let cas = trust().list(fresh(point(Some(CrlScope::CaCertsOnly)))).fetched_from("http://crl.example/a");
    assert_eq!(cas.verify(&chain, &root_der), uncovered(ListGap::Scope));
    // Without cRLSign, a list clears nothing.
    let unsigned = Trust::default().ca("root", &without).requiring().list(fresh(None));
    assert_eq!(unsigned.verify(&chain, &without), uncovered(ListGap::Missing));
}

/// A leaf that is trusted by itself is refused by the stored CA that issued it, and by no other of that name.
#[test]
fn a_trusted_leaf_is_checked_against_its_stored_issuers() {
    let (root, other) = (Ca::root("Root", &P256), Ca::root("Root", &P256));
    let leaf = root.issue(named("dev-1"));
    let chain = [leaf.clone()];
    let check = |trust: &Trust| {
        let chain = presented(&chain).unwrap();
        Leaf::check_trusted(chain.leaf(), trust.circumstances()).map(|leaf| leaf_name(leaf.certificate()))
    };
    let name = LeafName::Common("dev-1".to_owned());
    assert_eq!(check(&Trust::default()), Ok(name.clone()));
    let revoking =
        |ca: &Ca| Trust::default().ca("root", &ca.chain[0]).list(ca.crl(&[&leaf], (2026, 12, 1), None));
    assert_eq!(check(&revoking(&other)), Ok(name));
    assert!(matches!(check(&revoking(&root)), Err(PathError::Revoked { at, .. }) if at < NOW));
    assert!(check(&Trust::default().block(&leaf)).unwrap_err().is_by_operator());
}

#[test]
fn anchors_reject_leaves_and_take_precedence() {
    let root = Ca::root("Root", &P256);
    let factory = root.intermediate("Factory");
    let chain = factory.leaf_chain("dev-1");
    let trust = Trust::default();
    let anchor = |der, owner| Anchor::for_all(CertificateParts::read(der).unwrap(), owner);
    let owner_of = |anchors: &[Anchor<'_, u8>]| {
        let chain = presented(&chain).unwrap();
        let leaf = Leaf::check(chain.leaf(), trust.circumstances()).unwrap();
        let found = nearest_path(leaf.into(), chain.candidates(), anchors, trust.circumstances());
        let passed_over: Vec<_> = found.passed_over.into_iter().filter_map(|(owner, _)| owner).collect();
        (found.path.map(|path| path.owner).map_err(|error| error.to_string()), passed_over)
    };
    let (near, also_near, far) =
        (anchor(&factory.chain[0], 1), anchor(&factory.chain[0], 2), anchor(&root.chain[0], 3));
    let rejecting = Anchor { rejects: Some("not mine".to_owned()), ..near.clone() };
    let first = Anchor { takes_precedence: true, ..also_near.clone() };
    assert_eq!(owner_of(&[far.clone(), near.clone(), also_near.clone()]), (Ok(1), vec![]));
    assert_eq!(owner_of(&[near.clone(), first]), (Ok(2), vec![]));
    assert_eq!(owner_of(&[rejecting.clone(), also_near]), (Ok(2), vec![1]));
    // No anchor above one that rejects a leaf gains it.
    assert_eq!(owner_of(&[rejecting, far.clone()]), (Err("not mine".to_owned()), vec![1]));
    assert_eq!(owner_of(&[far]), (Ok(3), vec![]));
}

/// The peer sends a certificate by which its leaf is nearer to another anchor, but only by a step that is refused.
#[test]
fn an_anchor_behind_a_refused_step_is_passed_over() {
    let (root, strict) = (Ca::root("Root", &P256), Ca::root("Strict", &P256));
    let region = root.intermediate("Region");
    let factory = region.intermediate("Factory");
    let by_strict = strict.certify(&factory, authority("Factory"));
    let chain = factory.leaf_chain("dev-1");
    let trust = Trust::default()
        .ca("factory", &factory.chain[0])
        .ca("region", &region.chain[0])
        .ca("strict", &strict.chain[0])
        .requiring();
    let owner_of = |sent: &[Vec<u8>], edit: fn(&mut Anchor<'_, u8>)| {
        let chain = presented(sent).unwrap().completed(&trust);
        let leaf = Leaf::check(chain.leaf(), trust.circumstances()).unwrap();
        let anchor = |der, owner| Anchor::for_all(CertificateParts::read(der).unwrap(), owner);
        let mut anchors = [anchor(&root.chain[0], 1), anchor(&strict.chain[0], 2)];
        edit(&mut anchors[1]);
        let found = nearest_path(leaf.into(), chain.candidates(), &anchors, trust.circumstances());
        let passed_over: Vec<_> = found.passed_over.into_iter().filter_map(|(owner, _)| owner).collect();
        (found.path.map(|path| path.owner).map_err(|error| error.to_string()), passed_over)
    };
    let nearer = [chain[0].clone(), by_strict];
    assert_eq!(owner_of(&chain[..1], |_| {}), (Ok(1), vec![]));
    assert_eq!(owner_of(&nearer, |_| {}), (Ok(1), vec![2]));
    // An anchor that excludes the leaf decides all the same.
    assert_eq!(owner_of(&nearer, |anchor| anchor.takes_precedence = true), (Ok(2), vec![]));
    let rejecting = owner_of(&nearer, |anchor| anchor.rejects = Some("not mine".to_owned()));
    assert_eq!(rejecting, (Err("not mine".to_owned()), vec![2]));
}

#[test]
fn faults_are_those_of_a_later_search() {
    let root = Ca::root("Root", &P256);
    let mut expired = named("dev-1");
    expired.not_after = date_time_ymd(2021, 1, 1);
    let expired = root.issue(expired);
    let texts = |faults: Vec<PathError>| faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(certpath::faults_of_anchor(&root.chain[0], NOW)), [""; 0]);
    assert_eq!(texts(certpath::faults_of_leaf(&root.issue(named("dev-1")), NOW)), [""; 0]);
    assert_eq!(texts(certpath::faults_of_leaf(&expired, NOW)), ["CN=dev-1: expired at 2021-01-01T00:00:00Z"]);
    let early = Time::from_unix_seconds(0);
    let not_yet = texts(certpath::faults_of_leaf(&expired, early));
    assert_eq!(not_yet, ["CN=dev-1: is not valid before 2020-01-01T00:00:00Z"]);
    let mut leaf = named("dev-1");
    leaf.is_ca = rcgen::IsCa::ExplicitNoCa;
    leaf.not_after = date_time_ymd(2021, 1, 1);
    let faults = texts(certpath::faults_of_anchor(&root.issue(leaf), NOW));
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("expired") && faults[1].contains("is not a CA"), "{faults:?}");
}
