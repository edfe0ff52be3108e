//! Text of explanations.

use serde_json::Value;

const INDENT: usize = 12;

/// Formats an explanation of the service, one line per step.
pub fn text(explanation: &Value) -> String {
    let mut lines = Vec::new();
    section(&mut lines, "presented", texts(&explanation["presented"]), "no credentials");
    let considered = list(&explanation["considered"]).iter().map(considered).collect();
    section(&mut lines, "considered", considered, "no enrollment");
    if let Some(omitted) = explanation["omitted"].as_u64().filter(|omitted| *omitted > 0) {
        lines.push(format!("{:INDENT$}and {omitted} more", ""));
    }
    let unfit = texts(&explanation["unfitCertificates"]);
    if !unfit.is_empty() {
        section(&mut lines, "unfit", unfit, "");
    }
    let warnings = texts(&explanation["warnings"]);
    if !warnings.is_empty() {
        section(&mut lines, "warnings", warnings, "");
    }
    section(&mut lines, "outcome", vec![outcome(explanation)], "");
    lines.join("\n")
}

/// Formats the time and the address of a refused attempt.
pub fn heading(attempt: &Value) -> String {
    let from = match word(&attempt["address"]) {
        "" => String::new(),
        address => format!(" from {address}"),
    };
    format!("{}{from}", word(&attempt["dateTimeUtc"]))
}

/// Formats the refused attempts of a device, one line each.
pub fn attempts(reply: &Value) -> String {
    let attempts = list(&reply["attempts"]);
    let attempt = |attempt| format!("{}: {}", heading(attempt), outcome(attempt));
    let mut lines = Vec::new();
    section(&mut lines, "attempts", attempts.iter().map(attempt).collect(), "no refused attempt is stored");
    lines.join("\n")
}

fn section(lines: &mut Vec<String>, title: &str, entries: Vec<String>, if_none: &str) {
    let entries = if entries.is_empty() { vec![if_none.to_owned()] } else { entries };
    for (at, entry) in entries.iter().enumerate() {
        lines.push(format!("{:INDENT$}{entry}", if at == 0 { title } else { "" }));
    }
}

fn outcome(explanation: &Value) -> String {
    let enrollment = enrollment(&explanation["enrollment"]);
    match word(&explanation["outcome"]) {
        "admitted" => format!("admitted by {enrollment}"),
        "disabled" => format!("refused: {enrollment} is disabled"),
        "challenged" => "challenged: admitted as soon as its TPM opens the challenge".to_owned(),
        _ => format!("refused: {}", word(&explanation["reason"])),
    }
}

fn considered(considered: &Value) -> String {
    let name = enrollment(&considered["enrollment"]);
    let path = texts(&considered["path"]);
    match word(&considered["verdict"]) {
        "fits" if path.is_empty() => match word(&considered["key"]) {
            "" => format!("{name} fits"),
            key => format!("{name} fits by its {key} key"),
        },
        "fits" => format!("{name} fits: {}", path.join(" ← ")),
        _ => format!("{name} refuses: {}", word(&considered["reason"])),
    }
}

fn enrollment(enrollment: &Value) -> String {
    match word(&enrollment["enrollmentGroupId"]) {
        "" => "the individual enrollment".to_owned(),
        id => format!("the group {id}"),
    }
}

fn texts(list_of_texts: &Value) -> Vec<String> {
    list(list_of_texts).iter().map(|text| word(text).to_owned()).collect()
}

/// Returns the items of an array, and none of anything else.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
