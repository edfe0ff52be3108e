//! The text format of Prometheus (0.0.4).

use std::fmt::{Display, Write};

/// The media type.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The type of a metric family.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A value that only grows until the process ends.
    Counter,
    /// A value that goes up and down.
    Gauge,
}

/// The text under construction.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// A metric family, to which samples are added.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Text {
    /// Starts a family.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &'static str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { text: &mut self.0, name }
    }

    /// Returns the whole text.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Adds a sample. Samples of a family must have different labels.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        for (at, (name, value)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"{}\"", escaped(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

/// Escapes the value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_samples_have_the_prometheus_format() {
        let mut text = Text::default();
        text.family(Kind::Gauge, "muster_waiting", "What waits.").sample(&[], 3);
        let mut family = text.family(Kind::Counter, "muster_sent_total", "Messages sent.");
        family.sample(&[("a", "x"), ("b", "y")], 1_u64);
        family.sample(&[("a", "x"), ("b", "z")], 0_u64);
        let expected = "# HELP muster_waiting What waits.\n# TYPE muster_waiting gauge\nmuster_waiting 3\n\
                        # HELP muster_sent_total Messages sent.\n# TYPE muster_sent_total counter\n\
                        muster_sent_total{a=\"x\",b=\"y\"} 1\nmuster_sent_total{a=\"x\",b=\"z\"} 0\n";
        assert_eq!(text.into_string(), expected);
    }

    #[test]
    fn label_values_are_escaped() {
        let mut text = Text::default();
        text.family(Kind::Gauge, "muster_x", "X.").sample(&[("instance", "a\"} 1\n\\")], 0);
        assert_eq!(text.into_string().lines().nth(2), Some(r#"muster_x{instance="a\"} 1\n\\"} 0"#));
    }
}
