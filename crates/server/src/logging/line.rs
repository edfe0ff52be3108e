//! Formats log lines: at most [`MAX_BYTES`], with every value escaped.

use std::{error::Error, fmt};

use model::PeerText;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use super::LogFormat;

/// The longest target; the longest name of our modules has half of it.
const MAX_TARGET: usize = 60;

/// The bytes of JSON's quotes, colon and comma. Text has fewer; colors are not counted.
const NAME_FRAME: usize = 6;

/// The longest number.
const MAX_NUMBER: usize = 40;

/// The longest line, including its end.
pub(super) const MAX_BYTES: usize = 1024;

/// The bytes of timestamp, level, target and JSON syntax.
const FRAME: usize = 160;

/// The formatter of log lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineFormat {
    pub(super) format: LogFormat,
    pub(super) colored: bool,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut values = Values { left: MAX_BYTES - FRAME, ..Values::default() };
        event.record(&mut values);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        match self.format {
            LogFormat::Text => self.write_text(&mut writer, &time, *event.metadata().level(), &values),
            LogFormat::Json => write_json(&mut writer, &time, event, values),
        }
    }
}

impl LineFormat {
    fn write_text(&self, out: &mut Writer<'_>, time: &str, level: Level, values: &Values) -> fmt::Result {
        let [dim, paint, plain] =
            if self.colored { ["\u{1b}[2m", color(level), "\u{1b}[0m"] } else { [""; 3] };
        write!(out, "{dim}{time}{plain} {paint}{level:>5}{plain} {}", values.message)?;
        for (name, value) in &values.fields {
            write!(out, " {dim}{name}={plain}{}", Quoted(value))?;
        }
        out.write_char('\n')
    }
}

fn color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

fn write_json(out: &mut Writer<'_>, time: &str, event: &Event<'_>, values: Values) -> fmt::Result {
    let mut fields = Map::new();
    fields.insert("message".to_owned(), values.message.into());
    fields.extend(values.fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let target = PeerText::new(event.metadata().target(), MAX_TARGET).into_string();
    let line = serde_json::json!({
        "timestamp": time,
        "level": event.metadata().level().as_str(),
        "fields": fields,
        "target": target,
    });
    writeln!(out, "{line}")
}

/// A value, quoted if it could be read as several.
struct Quoted<'a>(&'a Value);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) if is_plain(text) => formatter.write_str(text),
            // JSON escapes only quotes and backslashes in a `PeerText`.
            other => write!(formatter, "{other}"),
        }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| !matches!(letter, ' ' | '=' | '"' | '\\' | ','))
}

/// The escaped values of an event, within the rest of the line.
#[derive(Default)]
struct Values {
    message: String,
    fields: Vec<(&'static str, Value)>,
    left: usize,
}

impl Values {
    /// Escapes a text, up to half of the rest, because quoting may double it.
    fn escape(&mut self, text: &dyn fmt::Display) -> String {
        let text = PeerText::new(text, PeerText::MAX_BYTES.min(self.left / 2)).into_string();
        self.left -= text.len() + text.matches(['"', '\\']).count();
        text
    }

    fn put(&mut self, field: &Field, text: &dyn fmt::Display) {
        if field.name() == "message" {
            self.message = self.escape(text);
        } else if self.reserve_name(field) {
            let text = self.escape(text);
            self.fields.push((field.name(), text.into()));
        }
    }

    fn put_short(&mut self, field: &Field, value: Value) {
        if self.reserve_name(field) {
            self.left = self.left.saturating_sub(MAX_NUMBER);
            self.fields.push((field.name(), value));
        }
    }

    /// Reserves the bytes of a field's name. Returns false if the name and a short value do not fit.
    fn reserve_name(&mut self, field: &Field) -> bool {
        let name = field.name().len() + NAME_FRAME;
        let fits = self.left >= name + MAX_NUMBER;
        self.left -= if fits { name } else { 0 };
        fits
    }
}

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, &value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_short(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_short(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put_short(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put_short(field, value.into());
    }
}
