//! The cases of C2SP x509-limbo that concern Muster, and where it disagrees with them.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use certpath::{CertificateParts, Purpose, Question, Time, verify};
use serde::Deserialize;

use crate::ca::{NOW, presented};

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

/// A case with another verdict than it expects.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disagreement {
    id: String,
    /// Muster's verdict.
    valid: bool,
    reason: String,
}

impl Case {
    /// Returns the path, or the refusal.
    fn verdict(&self) -> Result<Vec<Vec<u8>>, String> {
        let anchors: Vec<_> = self.anchors.iter().map(|text| STANDARD.decode(text).unwrap()).collect();
        let anchors: Vec<_> = anchors.iter().filter_map(|der| CertificateParts::read(der)).collect();
        let sent = [&self.leaf].into_iter().chain(&self.intermediates);
        let sent: Vec<_> = sent.map(|text| STANDARD.decode(text).unwrap()).collect();
        let chain = presented(&sent).map_err(|error| error.to_string())?;
        verify(&chain, &anchors, self.question()).map_err(|error| error.to_string())
    }

    fn question(&self) -> Question {
        let at = self.at.as_deref().map_or(NOW, instant);
        let purpose = self.purpose.as_deref().map(|purpose| match purpose {
            "client" => Purpose::Client,
            "server" => Purpose::Server,
            other => panic!("{other}"),
        });
        Question { at, purpose }
    }
}

/// Reads an instant such as `2024-01-31T00:00:00.5Z`, down to the second (days by Howard Hinnant's `days_from_civil`).
fn instant(text: &str) -> Time {
    let (whole, _fraction) =
        text.trim_end_matches('Z').split_once('.').unwrap_or((text.trim_end_matches('Z'), ""));
    let numbers: Vec<i64> = whole.split(['-', 'T', ':']).map(|part| part.parse().unwrap()).collect();
    let [year, month, day, hour, minute, second] = numbers[..] else { panic!("{text}") };
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let time = Time::from_unix_seconds(days * 86_400 + hour * 3600 + minute * 60 + second);
    assert_eq!(time.to_string(), format!("{whole}Z"));
    time
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
