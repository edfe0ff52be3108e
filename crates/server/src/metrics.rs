//! What monitoring reads, in the text format of Prometheus (0.0.4). Written by hand: of one gauge every line is here, and
//! `prometheus-client` 0.25 does not escape label values, while an instance may have any name.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, PoisonError},
};

use provisioning::authorities::{Expiring, Holder};

/// The media type of [`Metrics::text`].
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const EXPIRING: &str = "muster_certificates_expiring";

/// All values of `kind`, so that an instance without such certificates shows zeros.
const KINDS: [&str; 3] = ["ca", "group", "individual"];

/// How many certificates expire soon, by instance name and kind. Instances of one name are counted together: two lines of
/// the same labels would make the whole answer invalid.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<String, [usize; KINDS.len()]>);

impl Counts {
    /// Counts what was found of an instance.
    pub(crate) fn add(&mut self, instance: &str, expiring: &Expiring) {
        let counts = self.0.entry(instance.to_owned()).or_default();
        for it in &expiring.certificates {
            let [ca, group, individual] = counts;
            *match it.holder {
                Holder::Ca(_) => ca,
                Holder::Group(_) => group,
                Holder::Individual(_) => individual,
            } += 1;
        }
    }
}

/// The last counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
}

impl Metrics {
    /// Shows these from now on, in place of all before: an instance that is gone is gone here too.
    pub(crate) fn set(&self, counts: Counts) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// The body of an answer.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "# HELP {EXPIRING} Certificates that expire within 30 days or have expired, as of the last daily look.\n\
             # TYPE {EXPIRING} gauge\n"
        );
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (instance, counts) in &counts.0 {
            let instance = escaped(instance);
            for (kind, count) in KINDS.iter().zip(counts) {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{EXPIRING}{{instance=\"{instance}\",kind=\"{kind}\"}} {count}");
            }
        }
        text
    }
}

/// A label's value.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_write_lines_of_its_own() {
        let (metrics, mut counts) = (Metrics::default(), Counts::default());
        counts.add("a\"} 1\n\\", &Expiring { certificates: Vec::new(), more: false });
        metrics.set(counts);
        let text = metrics.text();
        let lines: Vec<_> = text.lines().skip(2).collect();
        let line =
            |kind| format!(r#"muster_certificates_expiring{{instance="a\"}} 1\n\\",kind="{kind}"}} 0"#);
        assert_eq!(lines, KINDS.map(line));
    }
}
