//! Log lines on standard error.
//!
//! Peers choose much of what is logged. Therefore every value of every line, whatever its source, passes
//! [`model::PeerText`] in the formatter (`line.rs`): a call site cannot forget it. And every line that names the address of
//! a peer passes [`RefusalLimit`] (`summary.rs`), which sums up what comes too fast.

mod line;
mod summary;

use std::io::IsTerminal;

use anyhow::Context;
use serde::Deserialize;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use line::Line;
use summary::RefusalLimit;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, which may be changed while it is logged.
pub struct LogFilter(Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>);

impl LogFilter {
    /// Logs this from now on.
    pub fn replace(&self, filter: &str) -> anyhow::Result<()> {
        self.0(parse(filter)?)
    }
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).with_context(|| format!("log filter {filter:?}"))
}

/// Starts logging; `filter` is a level or a list such as `info,net=debug`.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<LogFilter> {
    let filter = parse(filter)?;
    // Colors are for people, not for files and journals.
    let line = Line { format, colored: std::io::stderr().is_terminal() };
    let limit = RefusalLimit::default();
    let (subscriber, filter) = subscriber(filter, line, limit.clone(), std::io::stderr);
    subscriber.try_init().context("logging cannot start")?;
    limit.keep_summing_up().context("logging cannot start")?;
    Ok(filter)
}

fn subscriber<W>(
    filter: EnvFilter,
    line: Line,
    limit: RefusalLimit,
    writer: W,
) -> (impl Subscriber + Send + Sync, LogFilter)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A line that cannot be written is lost. To say so on standard error would panic, for there it went.
    let lines = tracing_subscriber::fmt::layer()
        .event_format(line)
        .with_writer(writer)
        .with_ansi(line.colored)
        .log_internal_errors(false);
    // The filter of levels comes first: what is not logged is not counted.
    let (filter, handle) = reload::Layer::new(filter);
    let replace = move |filter| handle.reload(filter).context("the log filter cannot be replaced");
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

    /// What is written while `log` runs.
    fn written(format: LogFormat, log: impl FnOnce(&RefusalLimit)) -> String {
        let (written, limit) = (Written::default(), RefusalLimit::default());
        let writer = written.clone();
        let line = Line { format, colored: false };
        let (subscriber, _) = subscriber(EnvFilter::new("info"), line, limit.clone(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || log(&limit));
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// One line by every way in which a value reaches the log.
    fn log_all(text: &str) {
        let error = std::io::Error::other(text.to_owned());
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::info!(a = text, b = %text, c = ?text, error, count = 7, "{text}");
    }

    proptest! {
        #[test]
        fn every_value_is_escaped_and_every_line_bounded(text in "(?s).{0,2000}") {
            for format in [LogFormat::Text, LogFormat::Json] {
                let written = written(format, |_| log_all(&text));
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
    fn a_value_cannot_pretend_to_be_another_field() {
        let text = written(LogFormat::Text, |_| {
            tracing::info!(reason = "x code=200 \"y\"", id = %"dev-1", code = 401_002, ok = true, "request refused");
        });
        let (_, line) = text.split_once(" INFO ").unwrap();
        assert_eq!(line, "request refused reason=\"x code=200 \\\"y\\\"\" id=dev-1 code=401002 ok=true\n");
        let json = written(LogFormat::Json, |_| tracing::warn!(code = 5, reason = "x\u{202e}", "refused"));
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["level"], "WARN");
        assert_eq!(
            json["fields"],
            serde_json::json!({"message": "refused", "code": 5, "reason": "x\\u{202e}"})
        );
        assert_eq!(json["target"], "server::logging::tests");
    }

    #[test]
    fn lines_of_one_address_are_summed_up_beyond_a_rate() {
        let refuse = |addr: &str| tracing::info!(peer.addr = %addr, "request refused");
        let text = written(LogFormat::Text, |limit| {
            (0..5_000).for_each(|port| refuse(&format!("203.0.113.7:{port}")));
            refuse("198.51.100.1");
            (0..50).for_each(|host| refuse(&format!("[2001:db8::{host}]:443")));
            // Changes by operators are never summed up.
            (0..50).for_each(
                |_| tracing::info!(target: crate::AUDIT, { peer.addr = %"203.0.113.7" }, "changed"),
            );
            limit.sum_up();
            refuse("203.0.113.7:1");
            limit.sum_up();
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
    fn many_addresses_share_what_is_left() {
        let text = written(LogFormat::Text, |limit| {
            for address in 0..20_000u32 {
                let address = std::net::Ipv4Addr::from(address);
                tracing::info!(peer.addr = %address, "request refused");
            }
            limit.sum_up();
        });
        let lines = text.lines().count();
        assert!(lines <= summary::MAX_NETWORKS + summary::LINES as usize + 1, "{lines}");
        assert!(text.contains("more refusals from other addresses in 10 s"), "no sum");
    }
}
