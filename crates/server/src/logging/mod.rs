//! Log lines on standard error.
//!
//! Peers choose much of what is logged. Therefore the formatter (`line.rs`) passes every value through [`model::PeerText`],
//! so that no call site can forget it. Every line with the address of a peer passes [`RefusalLimit`] (`summary.rs`), which
//! summarizes lines beyond a rate.

mod line;
mod summary;

use std::io::IsTerminal;

use anyhow::Context;
use serde::Deserialize;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use line::LineFormat;
use summary::RefusalLimit;

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The handle to the log filter, which can be replaced at run time.
pub struct LogFilter(Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>);

impl LogFilter {
    /// Replaces the filter. Fails if it is malformed.
    pub fn replace(&self, filter: &str) -> anyhow::Result<()> {
        self.0(parse(filter)?)
    }
}

/// Fails if a filter is malformed.
pub fn check_filter(filter: &str) -> anyhow::Result<()> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).with_context(|| format!("log filter {filter:?}"))
}

/// Starts logging. `filter` is a level or a list such as `info,net=debug`. Fails if it is malformed.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<LogFilter> {
    let filter = parse(filter)?;
    // Colors only for terminals.
    let line = LineFormat { format, colored: std::io::stderr().is_terminal() };
    let limit = RefusalLimit::default();
    let (subscriber, filter) = subscriber(filter, line, limit.clone(), std::io::stderr);
    subscriber.try_init().context("cannot start logging")?;
    limit.start_summaries().context("cannot start logging")?;
    Ok(filter)
}

fn subscriber<W>(
    filter: EnvFilter,
    line: LineFormat,
    limit: RefusalLimit,
    writer: W,
) -> (impl Subscriber + Send + Sync, LogFilter)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A line that cannot be written is lost: reporting it on standard error would panic.
    let lines = tracing_subscriber::fmt::layer()
        .event_format(line)
        .with_writer(writer)
        .with_ansi(line.colored)
        .log_internal_errors(false);
    // The level filter comes first, so that filtered lines are not counted.
    let (filter, handle) = reload::Layer::new(filter);
    let replace = move |filter| handle.reload(filter).context("cannot replace the log filter");
    (Registry::default().with(lines.and_then(limit)).with(filter), LogFilter(Box::new(replace)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that `log` writes.
    fn captured(format: LogFormat, log: impl FnOnce(&RefusalLimit)) -> String {
        let (written, limit) = (Written::default(), RefusalLimit::default());
        let writer = written.clone();
        let line = LineFormat { format, colored: false };
        let (subscriber, _) = subscriber(EnvFilter::new("info"), line, limit.clone(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || log(&limit));
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// Logs a line with a value in every form of a field.
    fn log_all(text: &str) {
        let error = std::io::Error::other(text.to_owned());
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::info!(a = text, b = %text, c = ?text, error, count = 7, "{text}");
    }

    proptest! {
        #[test]
        fn every_value_is_escaped_and_every_line_bounded(text in "(?s).{0,2000}") {
            for format in [LogFormat::Text, LogFormat::Json] {
                let written = captured(format, |_| log_all(&text));
                let line = written.strip_suffix('\n').unwrap();
                prop_assert!(line.chars().all(model::PeerText::shows), "{line:?}");
                prop_assert!(written.len() <= line::MAX_BYTES, "{}", written.len());
                if format == LogFormat::Json {
                    let json: Value = serde_json::from_str(line).unwrap();
                    prop_assert!(json["fields"]["message"].is_string(), "{json}");
                }
            }
        }
    }

    #[test]
    fn a_value_cannot_look_like_another_field() {
        let text = captured(LogFormat::Text, |_| {
            tracing::info!(reason = "x code=200 \"y\"", id = %"dev-1", code = 401_002, ok = true, "request refused");
        });
        let (_, line) = text.split_once(" INFO ").unwrap();
        assert_eq!(line, "request refused reason=\"x code=200 \\\"y\\\"\" id=dev-1 code=401002 ok=true\n");
        let json = captured(LogFormat::Json, |_| tracing::warn!(code = 5, reason = "x\u{202e}", "refused"));
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["level"], "WARN");
        assert_eq!(
            json["fields"],
            serde_json::json!({"message": "refused", "code": 5, "reason": "x\\u{202e}"})
        );
        assert_eq!(json["target"], "server::logging::tests");
    }

    #[test]
    fn lines_of_one_address_are_summarized_beyond_a_rate() {
        let refuse = |addr: &str| tracing::info!(peer.addr = %addr, "request refused");
        let text = captured(LogFormat::Text, |limit| {
            (0..5_000).for_each(|port| refuse(&format!("203.0.113.7:{port}")));
            refuse("198.51.100.1");
            (0..50).for_each(|host| refuse(&format!("[2001:db8::{host}]:443")));
            // Changes by operators are never summarized.
            (0..50).for_each(
                |_| tracing::info!(target: crate::AUDIT, { peer.addr = %"203.0.113.7" }, "changed"),
            );
            limit.log_summary();
            refuse("203.0.113.7:1");
            limit.log_summary();
        });
        let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
        assert_eq!(count("request refused peer.addr=203.0.113.7"), summary::LINES as usize + 1);
        assert_eq!(count("request refused peer.addr=198.51.100.1"), 1);
        assert_eq!(count("changed"), 50);
        assert_eq!(count("… and 4,990 more refusals from 203.0.113.7 in 10 s"), 1, "{text}");
        assert_eq!(count("… and 40 more refusals from 2001:db8:: in 10 s"), 1, "{text}");
        assert_eq!(count("more refusals"), 2);
    }

    #[test]
    fn addresses_beyond_the_limit_share_one_count() {
        let text = captured(LogFormat::Text, |limit| {
            for address in 0..20_000u32 {
                let address = std::net::Ipv4Addr::from(address);
                tracing::info!(peer.addr = %address, "request refused");
            }
            limit.log_summary();
        });
        let lines = text.lines().count();
        assert!(lines <= summary::MAX_NETWORKS + summary::LINES as usize + 1, "{lines}");
        assert!(text.contains("more refusals from other addresses in 10 s"), "no sum");
    }
}
