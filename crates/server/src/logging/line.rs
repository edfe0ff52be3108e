//! The form of a line: at most [`MAX_BYTES`], every value escaped.

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

/// The longest line, its end included.
pub(super) const MAX_BYTES: usize = 1024;

/// What timestamp, level, target and the frame of JSON take.
const FRAME: usize = 160;

/// Writes the lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) format: LogFormat,
    pub(super) colored: bool,
}

impl<S, N> FormatEvent<S, N> for Line
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

impl Line {
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

/// Of the names of our modules, the longest takes half of it.
const MAX_TARGET: usize = 60;

/// A value that no reader takes for two.
struct Quoted<'a>(&'a Value);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) if is_plain(text) => formatter.write_str(text),
            // With its quotes and backslashes escaped, which for a text of `PeerText` is all that JSON does.
            other => write!(formatter, "{other}"),
        }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| !matches!(letter, ' ' | '=' | '"' | '\\' | ','))
}

/// The values of an event, escaped, within what is left of the line.
#[derive(Default)]
struct Values {
    message: String,
    fields: Vec<(&'static str, Value)>,
    left: usize,
}

impl Values {
    /// A text takes at most half of what is left, since quoting may double it.
    fn escape(&mut self, text: &dyn fmt::Display) -> String {
        let text = PeerText::new(text, PeerText::MAX_BYTES.min(self.left / 2)).into_string();
        self.left -= text.len() + text.matches(['"', '\\']).count();
        text
    }

    fn put(&mut self, field: &Field, text: &dyn fmt::Display) {
        if field.name() == "message" {
            self.message = self.escape(text);
        } else if self.has_room(field) {
            let text = self.escape(text);
            self.fields.push((field.name(), text.into()));
        }
    }

    fn put_short(&mut self, field: &Field, value: Value) {
        if self.has_room(field) {
            self.left = self.left.saturating_sub(MAX_NUMBER);
            self.fields.push((field.name(), value));
        }
    }

    /// Whether there is room for a field's name and a few bytes of its value; takes the room of the name.
    fn has_room(&mut self, field: &Field) -> bool {
        let name = field.name().len() + NAME_FRAME;
        let has_room = self.left >= name + MAX_NUMBER;
        self.left -= if has_room { name } else { 0 };
        has_room
    }
}

/// Quotes, colon and comma of JSON; text takes less, with colors it is not measured.
const NAME_FRAME: usize = 6;

/// What a number takes at most.
const MAX_NUMBER: usize = 40;

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
