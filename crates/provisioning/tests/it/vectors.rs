//! Chains that nobody here made: the cases of C2SP x509-limbo that concern Muster, and where it disagrees with them.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{Certificate, Timestamp};
use provisioning::attest::x509::{self, PresentedChain, Question, rules::Purpose};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;

use crate::attest::case::NOW;

#[derive(Deserialize)]
struct Case {
    id: String,
    expected: bool,
    at: Option<String>,
    purpose: Option<String>,
    anchors: Vec<String>,
    intermediates: Vec<String>,
    leaf: String,
}

/// Why Muster's verdict is not the one that a case expects.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disagreement {
    id: String,
    /// What Muster says.
    valid: bool,
    reason: String,
}

impl Case {
    /// What Muster says: the path, or the refusal.
    fn verdict(&self) -> Result<Vec<Vec<u8>>, String> {
        let anchors: Vec<_> = self
            .anchors
            .iter()
            .map(|text| Certificate::parse(text).map_err(said))
            .collect::<Result<_, _>>()?;
        let sent = [&self.leaf].into_iter().chain(&self.intermediates);
        let presented: Vec<CertificateDer<'static>> =
            sent.map(|text| STANDARD.decode(text).unwrap().into()).collect();
        let chain = PresentedChain::parse(&presented).map_err(said)?;
        x509::verify(&chain, &anchors, &self.question()).map_err(said)
    }

    fn question(&self) -> Question {
        let at = self.at.as_deref().map_or(NOW, |at| Timestamp::parse(at).unwrap());
        let purpose = self.purpose.as_deref().map(|purpose| match purpose {
            "client" => Purpose::Client,
            "server" => Purpose::Server,
            other => panic!("{other}"),
        });
        Question { at, purpose, registration_id: None }
    }
}

fn said(error: impl ToString) -> String {
    error.to_string()
}

/// Every disagreement is listed with its reason, and nothing is listed that is none.
#[test]
fn x509_limbo_agrees_but_for_what_is_listed() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../data/x509-limbo/cases.json")).unwrap();
    let listed: Vec<Disagreement> =
        serde_json::from_str(include_str!("../data/x509-limbo/disagreements.json")).unwrap();
    let listed: BTreeMap<_, _> = listed.iter().map(|one| (one.id.as_str(), one)).collect();
    let (mut agreed, mut wrong) = (0, Vec::new());
    for case in &cases {
        let verdict = case.verdict();
        let disagrees = verdict.is_ok() != case.expected;
        match listed.get(case.id.as_str()) {
            None if !disagrees => {
                agreed += 1;
                println!("{}: {}", case.id, verdict.err().unwrap_or_else(|| "valid".into()));
            }
            Some(listed) if disagrees && listed.valid == verdict.is_ok() && listed.reason.len() > 20 => {}
            Some(_) => wrong.push(format!("{} is listed wrongly, valid: {}", case.id, verdict.is_ok())),
            None => wrong.push(format!("{} is not listed, valid: {}", case.id, verdict.is_ok())),
        }
    }
    let unknown = listed.keys().filter(|id| cases.iter().all(|case| case.id != **id));
    wrong.extend(unknown.map(|id| format!("{id} is no case")));
    println!("x509-limbo: {} cases, {agreed} agree, {} disagreements listed", cases.len(), listed.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(agreed + listed.len(), cases.len());
}
