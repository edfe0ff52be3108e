//! Reads the enrollments of a file one by one: it may be larger than memory.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{item::Item, rows::Header};

/// The longest enrollment, as a line, a row or an element: larger than the service accepts an enrollment.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// What is read at once.
const BUFFER_BYTES: usize = 8 * 1024;

/// The modes of Azure's bulk operations that say what an import does, too; none of them deletes.
const MODES: [&str; 3] = ["create", "update", "updateIfMatchETag"];

/// The members of a document that hold its enrollments: of Azure's bulk operations, and of listings of its management API.
const LISTS: [&str; 3] = ["enrollments", "enrollmentGroups", "value"];

/// The formats of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// Rows with a header.
    Csv,
    /// One document: an array, a bulk operation of Azure, or one enrollment.
    Json,
    /// An enrollment on each line.
    Jsonl,
}

/// What was read.
#[derive(Debug, PartialEq)]
pub enum Entry {
    /// An enrollment.
    Item(Item),
    /// A line without one.
    Unreadable {
        /// The number of the line, from 1.
        line: u64,
        /// Why.
        problem: String,
    },
}

impl Entry {
    fn of(line: u64, outcome: Result<Item, String>) -> Entry {
        outcome.map_or_else(|problem| Entry::Unreadable { line, problem }, Entry::Item)
    }
}

/// Receives what was read; false ends the reading.
type Sink<'a> = &'a mut dyn FnMut(Entry) -> bool;

/// Reads enrollments until the end, or until the sink returns false. Lines without an enrollment go to the sink, too; the error is
/// one after which nothing can be read.
pub fn read(input: impl Read, format: Option<FileFormat>, sink: Sink<'_>) -> anyhow::Result<()> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let first = first_line(&mut input).context("cannot read the file")?;
    let first = first.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&first);
    let format = format.unwrap_or_else(|| recognize(first));
    let input = first.chain(input);
    match format {
        FileFormat::Csv => read_csv(input, sink),
        FileFormat::Json => read_document(input, sink),
        FileFormat::Jsonl => read_lines(input, sink),
    }
}

/// Reads up to the end of the first line that is not blank, but no more than a line may have.
fn first_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    let mut input = input.take(MAX_LINE_BYTES as u64);
    while input.read_until(b'\n', &mut first)? > 0 && first.trim_ascii().is_empty() {}
    Ok(first)
}

/// Recognizes the format by the first line of a file.
fn recognize(first_line: &[u8]) -> FileFormat {
    match first_line.trim_ascii_start().first() {
        Some(b'[') => FileFormat::Json,
        Some(b'{') => match serde_json::from_slice::<Map<String, Value>>(first_line) {
            Ok(object) if !LISTS.iter().any(|list| object.contains_key(*list)) => FileFormat::Jsonl,
            _ => FileFormat::Json,
        },
        _ => FileFormat::Csv,
    }
}

fn read_csv(input: impl Read, sink: Sink<'_>) -> anyhow::Result<()> {
    let count = Arc::new(ReadCount::default());
    let input = CountingReader { input, count: Arc::clone(&count) };
    // A carriage return is white space at the end of the last cell.
    let line_feed = csv::Terminator::Any(b'\n');
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES)
        .terminator(line_feed)
        .from_reader(input);
    let header = Header::parse(reader.headers().context("the header cannot be read")?);
    let header = header.map_err(anyhow::Error::msg)?;
    let mut record = csv::StringRecord::new();
    loop {
        count.bytes.store(0, Ordering::Relaxed);
        let read = reader.read_record(&mut record);
        let begin = record.position().map_or(0, csv::Position::line);
        // The last line may have no end.
        let line = begin.max(reader.position().line().saturating_sub(1));
        let outcome = match read {
            Ok(false) => return Ok(()),
            Ok(true) if record.iter().all(|cell| cell.trim().is_empty()) => continue,
            Ok(true) => header.enrollment(&record).and_then(|json| Item::parse(line, json)),
            Err(error) if error.is_io_error() => return Err(error.into()),
            Err(error) => Err(error.to_string()),
        };
        if !sink(Entry::of(line, outcome)) {
            return Ok(());
        }
    }
}

fn read_lines(mut input: impl BufRead, sink: Sink<'_>) -> anyhow::Result<()> {
    let (mut bytes, mut line) = (Vec::new(), 0);
    loop {
        bytes.clear();
        line += 1;
        let limit = MAX_LINE_BYTES as u64 + 1;
        input.by_ref().take(limit).read_until(b'\n', &mut bytes).context("cannot read the file")?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() as u64 == limit {
            bail!("line {line} is longer than {MAX_LINE_BYTES} bytes");
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let parsed = serde_json::from_slice(&bytes).map_err(|error| format!("it is not JSON: {error}"));
        let outcome = parsed.and_then(|json| Item::parse(line, json));
        if !sink(Entry::of(line, outcome)) {
            return Ok(());
        }
    }
}

/// What was read.
#[derive(Default)]
struct ReadCount {
    line_ends: AtomicU64,
    /// The bytes since the last enrollment.
    bytes: AtomicU64,
}

/// Counts what is read, and fails in an enrollment that does not end.
struct CountingReader<R> {
    input: R,
    count: Arc<ReadCount>,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ReadCount { line_ends, bytes } = &*self.count;
        if bytes.load(Ordering::Relaxed) > MAX_LINE_BYTES as u64 {
            return Err(io::Error::other(format!("an enrollment is longer than {MAX_LINE_BYTES} bytes")));
        }
        let length = self.input.read(buffer)?;
        let ends = buffer[..length].iter().filter(|byte| **byte == b'\n').count();
        line_ends.fetch_add(ends as u64, Ordering::Relaxed);
        bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Reads a document. Only the enrollment at hand is in memory.
fn read_document(input: impl BufRead, sink: Sink<'_>) -> anyhow::Result<()> {
    let count = Arc::new(ReadCount::default());
    // The parser reads byte by byte, so that no line is counted before it is parsed.
    let input = CountingReader { input, count: Arc::clone(&count) };
    let (mut parser, mut is_stopped) = (serde_json::Deserializer::from_reader(input), false);
    let mut sink = |entry: Entry| {
        let goes_on = sink(entry);
        is_stopped |= !goes_on;
        goes_on
    };
    let document = Document { count: &count, sink: &mut sink };
    let parsed = document.deserialize(&mut parser).and_then(|()| parser.end());
    match parsed {
        Err(_) if is_stopped => Ok(()),
        Err(error) if error.is_data() => Err(error.into()),
        parsed => parsed.context("the file is not JSON from here on"),
    }
}

/// The visitor of a document, of its list, and of its only enrollment.
struct Document<'a, 's> {
    count: &'a ReadCount,
    sink: &'a mut (dyn FnMut(Entry) -> bool + 's),
}

impl Document<'_, '_> {
    /// Hands an enrollment to the sink; false if it wants no more.
    fn hand_over(&mut self, json: Value) -> bool {
        let line = self.count.line_ends.load(Ordering::Relaxed) + 1;
        self.count.bytes.store(0, Ordering::Relaxed);
        (self.sink)(Entry::of(line, Item::parse(line, json)))
    }
}

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of enrollments, a bulk operation, or an enrollment")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(json) = list.next_element()? {
            if !self.hand_over(json) {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let (mut enrollment, mut has_list) = (Map::new(), false);
        while let Some(name) = members.next_key::<String>()? {
            if LISTS.contains(&name.as_str()) {
                check_mode(enrollment.get("mode")).map_err(A::Error::custom)?;
                has_list = true;
                members.next_value_seed(Document { count: self.count, sink: self.sink })?;
            } else {
                enrollment.insert(name, members.next_value()?);
            }
        }
        if has_list {
            return check_mode(enrollment.get("mode")).map_err(A::Error::custom);
        }
        if self.hand_over(Value::Object(enrollment)) { Ok(()) } else { Err(A::Error::custom("stopped")) }
    }
}

/// Refuses the mode of a bulk operation that is not one of [`MODES`].
fn check_mode(mode: Option<&Value>) -> Result<(), String> {
    match mode {
        Some(mode) if !mode.as_str().is_some_and(|mode| MODES.contains(&mode)) => {
            Err(format!("the mode of the bulk operation is {mode}, and an import only creates and replaces"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns line and ID of each enrollment, and line and problem of each other line.
    fn all(text: &str, format: Option<FileFormat>) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        let mut sink = |read| {
            found.push(match read {
                Entry::Item(item) => (item.line, item.id().to_owned()),
                Entry::Unreadable { line, problem } => (line, problem),
            });
            true
        };
        read(text.as_bytes(), format, &mut sink).unwrap();
        found
    }

    #[test]
    fn formats_are_recognized_and_lines_counted() {
        let two = [(1, "a"), (2, "b")];
        for (text, expected) in [
            ("{\"registrationId\":\"a\"}\n{\"enrollmentGroupId\":\"b\"}\n", two.to_vec()),
            ("\u{feff}{\"registrationId\":\"a\"}\n\n{\"registrationId\":\"b\"}", vec![(1, "a"), (3, "b")]),
            ("[{\"registrationId\":\"a\"},\n {\"registrationId\":\"b\"}]", two.to_vec()),
            (
                "{\"mode\":\"create\",\"enrollments\":[{\"registrationId\":\"a\"},\n{\"registrationId\":\"b\"}]}",
                two.to_vec(),
            ),
            (
                "{\n\"enrollmentGroups\":[\n{\"enrollmentGroupId\":\"g\"}], \"mode\":\"update\"}",
                vec![(3, "g")],
            ),
            ("{\n  \"registrationId\": \"a\"\n}\n", vec![(3, "a")]),
            ("registrationId,deviceId\na,x\n\"b\",\n", vec![(2, "a"), (3, "b")]),
            ("registrationId,deviceId\r\na,x\r\n\r\nb,\"x\"\r\nc,", vec![(2, "a"), (4, "b"), (5, "c")]),
            ("registrationId,deviceId\r\na,\"x\r\ny\"\r\n\"b\",\"\"", vec![(3, "a"), (4, "b")]),
            ("", vec![]),
            ("[]", vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(line, id)| (line, id.to_owned())).collect();
            assert_eq!(all(text, None), expected, "{text}");
        }
    }

    /// Exports have lines with chains of certificates.
    #[test]
    fn a_long_first_line_is_recognized() {
        let long = "x".repeat(100_000);
        let line = |id: &str| format!("{{\"registrationId\":\"{id}\",\"x\":\"{long}\"}}\n");
        let found = all(&format!("\n{}{}", line("a"), line("b")), None);
        assert_eq!(found, [(2, "a".to_owned()), (3, "b".to_owned())]);
    }

    #[test]
    fn a_bulk_operation_that_deletes_is_refused() {
        let enrollments = "\"enrollments\":[{\"registrationId\":\"a\"}]";
        let read = |text: &str| read(text.as_bytes(), None, &mut |_| true);
        for mode in MODES {
            read(&format!("{{\"mode\":\"{mode}\",{enrollments}}}")).unwrap();
        }
        for wrong in ["\"delete\"", "7"] {
            for text in
                [format!("{{\"mode\":{wrong},{enrollments}}}"), format!("{{{enrollments},\"mode\":{wrong}}}")]
            {
                let error = read(&text).unwrap_err().to_string();
                assert!(error.contains("only creates and replaces"), "{error}");
            }
        }
    }

    /// A quote that is not closed does not fill the memory.
    #[test]
    fn an_enrollment_that_does_not_end_is_refused() {
        struct Endless(u64);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += buffer.len() as u64;
                assert!(self.0 < 3 * MAX_LINE_BYTES as u64);
                buffer.fill(b'x');
                Ok(buffer.len())
            }
        }
        for begin in ["registrationId,deviceId\na,\"", "[{\"registrationId\":\"", "{\n\"registrationId\":\""]
        {
            let error = read(begin.as_bytes().chain(Endless(0)), None, &mut |_| true).unwrap_err();
            assert!(format!("{error:#}").contains("longer than"), "{begin}: {error:#}");
        }
    }

    #[test]
    fn a_line_without_an_enrollment_does_not_end_the_file() {
        let text = "{\"registrationId\":\"a\"}\n{\"x\":1}\nnonsense\n[]\n{\"registrationId\":\"b\"}\n";
        let found = all(text, Some(FileFormat::Jsonl));
        let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5]);
        assert!(
            found[1].1.contains("neither a registrationId") && found[2].1.contains("not JSON"),
            "{found:?}"
        );
        assert_eq!((found[3].1.as_str(), found[4].1.as_str()), ("it is not a JSON object", "b"));
    }

    #[test]
    fn reading_ends_where_the_sink_says_and_where_json_ends() {
        for text in
            ["[{\"registrationId\":\"a\"},{\"registrationId\":\"b\"}", "{\"registrationId\":\"a\"}\nx\n"]
        {
            let mut count = 0;
            let mut once = |_| {
                count += 1;
                false
            };
            read(text.as_bytes(), None, &mut once).unwrap();
            assert_eq!(count, 1, "{text}");
        }
        let error = read("[{\"registrationId\":\"a\"},".as_bytes(), None, &mut |_| true).unwrap_err();
        assert!(format!("{error:#}").contains("line 1"), "{error:#}");
        let endless = format!("{{\"registrationId\":\"{}\"}}", "x".repeat(MAX_LINE_BYTES));
        assert!(read(endless.as_bytes(), Some(FileFormat::Jsonl), &mut |_| true).is_err());
    }
}
