//! A subset of IoT Hub's query language: `SELECT * FROM devices [WHERE …]`, the same with properties in place of the
//! star, and `SELECT COUNT() AS n FROM devices [WHERE …]`. The condition is a conjunction of `path = value`, `path !=
//! value` and `path IN [values]`.

use serde_json::{Number, Value};

/// The maximum length of a query in bytes; Azure IoT Hub's limit is lower.
const MAX_QUERY_BYTES: usize = 8192;
/// The maximum number of conditions, and of selected properties, which bounds the time per row.
const MAX_CONDITIONS: usize = 16;

/// A parsed query over `devices`.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The content of the rows.
    pub selection: Selection,
    /// The conditions, all of which a twin must meet.
    pub conditions: Vec<Condition>,
}

/// The content of the rows that a query returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Whole twins.
    All,
    /// One row with the number of twins, as a member of this name.
    Count(String),
    /// Selected members of each twin.
    Members(Vec<Member>),
}

/// A selected member of each twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The path to the value in the twin.
    pub path: Vec<String>,
    /// The name of the value in the row.
    pub name: String,
}

impl Member {
    /// Returns the row with the selected members of a twin. Members that the twin lacks are omitted.
    pub fn row(members: &[Member], twin: &Value) -> Value {
        let found = members.iter().filter_map(|member| {
            let value = member.path.iter().try_fold(twin, |value, key| value.get(key))?;
            Some((member.name.clone(), value.clone()))
        });
        Value::Object(found.collect())
    }
}

/// A condition on one value of the twin.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The path to the value in the twin.
    pub path: Vec<String>,
    /// The test of the value.
    pub test: Test,
}

/// A test of a value. A value that is absent fails every test.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// The value equals this one.
    Is(Value),
    /// The value differs from this one.
    IsNot(Value),
    /// The value equals one of these.
    OneOf(Vec<Value>),
}

/// The reasons why a query is malformed or not supported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A token is not the expected one.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// The tokens that the grammar allows.
        expected: &'static str,
        /// The token found.
        found: String,
    },
    /// A string is unterminated, or a character or number is malformed; the value is the character's index.
    #[error("the query has an unreadable part at character {0}")]
    Unreadable(usize),
    /// The query is too long, or has too many conditions or selected properties.
    #[error("the query is too long")]
    TooLong,
}

impl Query {
    /// Parses a query.
    pub fn parse(text: &str) -> Result<Query, QueryError> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(QueryError::TooLong);
        }
        let mut tokens = Tokens { rest: tokenize(text)?.into_iter().peekable() };
        tokens.keyword("SELECT")?;
        let selection = selection(&mut tokens)?;
        tokens.keyword("FROM")?;
        tokens.keyword("devices")?;
        let mut conditions = Vec::new();
        if tokens.rest.peek().is_some() {
            tokens.keyword("WHERE")?;
            conditions.push(condition(&mut tokens)?);
            while tokens.rest.peek().is_some() {
                tokens.keyword("AND")?;
                conditions.push(condition(&mut tokens)?);
                if conditions.len() > MAX_CONDITIONS {
                    return Err(QueryError::TooLong);
                }
            }
        }
        Ok(Query { selection, conditions })
    }

    /// Returns the device ID that the query requires, if any: no other device can match.
    pub fn device_id(&self) -> Option<&str> {
        self.conditions.iter().find_map(|condition| match &condition.test {
            Test::Is(Value::String(id)) if condition.path == ["deviceId"] => Some(id.as_str()),
            _ => None,
        })
    }
}

impl Condition {
    /// Returns whether `document` meets the condition.
    pub fn holds(&self, document: &Value) -> bool {
        let found = self.path.iter().try_fold(document, |value, key| value.get(key));
        match (&self.test, found) {
            (Test::Is(expected), Some(found)) => found == expected,
            (Test::IsNot(expected), Some(found)) => found != expected,
            (Test::OneOf(expected), Some(found)) => expected.contains(found),
            (_, None) => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Literal(Value),
    Sign(&'static str),
}

struct Tokens {
    rest: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Tokens {
    fn keyword(&mut self, expected: &'static str) -> Result<(), QueryError> {
        match self.rest.next() {
            Some(Token::Word(word)) if word.eq_ignore_ascii_case(expected) => Ok(()),
            other => Err(unexpected(expected, other)),
        }
    }

    fn sign(&mut self, expected: &'static str) -> Result<(), QueryError> {
        match self.rest.next() {
            Some(Token::Sign(sign)) if sign == expected => Ok(()),
            other => Err(unexpected(expected, other)),
        }
    }

    fn word(&mut self, expected: &'static str) -> Result<String, QueryError> {
        match self.rest.next() {
            Some(Token::Word(word)) => Ok(word),
            other => Err(unexpected(expected, other)),
        }
    }

    fn literal(&mut self) -> Result<Value, QueryError> {
        match self.rest.next() {
            Some(Token::Literal(value)) => Ok(value),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            other => Err(unexpected("a value", other)),
        }
    }
}

fn unexpected(expected: &'static str, found: Option<Token>) -> QueryError {
    let found = match found {
        None => "the end".to_owned(),
        Some(Token::Word(word)) => word,
        Some(Token::Literal(value)) => value.to_string(),
        Some(Token::Sign(sign)) => sign.to_owned(),
    };
    QueryError::Expected { expected, found }
}

fn selection(tokens: &mut Tokens) -> Result<Selection, QueryError> {
    match tokens.rest.next() {
        Some(Token::Sign("*")) => Ok(Selection::All),
        Some(Token::Word(word))
            if word.eq_ignore_ascii_case("COUNT") && tokens.rest.peek() == Some(&Token::Sign("(")) =>
        {
            tokens.sign("(")?;
            tokens.sign(")")?;
            if matches!(tokens.rest.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case("AS")) {
                tokens.keyword("AS")?;
                return Ok(Selection::Count(tokens.word("a name")?));
            }
            Ok(Selection::Count("count".to_owned()))
        }
        Some(Token::Word(word)) => members(word, tokens).map(Selection::Members),
        other => Err(unexpected("*, COUNT() or a property", other)),
    }
}

fn members(first: String, tokens: &mut Tokens) -> Result<Vec<Member>, QueryError> {
    let mut members = vec![member(first, tokens)?];
    while tokens.rest.peek() == Some(&Token::Sign(",")) {
        tokens.sign(",")?;
        let next = tokens.word("a property")?;
        members.push(member(next, tokens)?);
        if members.len() > MAX_CONDITIONS {
            return Err(QueryError::TooLong);
        }
    }
    Ok(members)
}

/// Parses a selected member. Without `AS`, its name is the last part of its path.
fn member(word: String, tokens: &mut Tokens) -> Result<Member, QueryError> {
    let path = path(&word);
    let is_named = matches!(tokens.rest.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case("AS"));
    let name = if is_named {
        tokens.keyword("AS")?;
        tokens.word("a name")?
    } else {
        path.last().cloned().unwrap_or_default()
    };
    Ok(Member { path, name })
}

fn path(word: &str) -> Vec<String> {
    let word = word.strip_prefix("devices.").unwrap_or(word);
    word.split('.').map(str::to_owned).collect()
}

fn condition(tokens: &mut Tokens) -> Result<Condition, QueryError> {
    let path = path(&tokens.word("a property")?);
    let test = match tokens.rest.next() {
        Some(Token::Sign("=")) => Test::Is(tokens.literal()?),
        Some(Token::Sign("!=")) => Test::IsNot(tokens.literal()?),
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("IN") => Test::OneOf(list(tokens)?),
        other => return Err(unexpected("=, != or IN", other)),
    };
    Ok(Condition { path, test })
}

fn list(tokens: &mut Tokens) -> Result<Vec<Value>, QueryError> {
    tokens.sign("[")?;
    let mut values = vec![tokens.literal()?];
    loop {
        match tokens.rest.next() {
            Some(Token::Sign(",")) => values.push(tokens.literal()?),
            Some(Token::Sign("]")) => return Ok(values),
            other => return Err(unexpected(", or ]", other)),
        }
    }
}

fn tokenize(text: &str) -> Result<Vec<Token>, QueryError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&first) = chars.get(at) {
        let (token, next) = match first {
            white if white.is_whitespace() => {
                at += 1;
                continue;
            }
            '\'' | '"' => string(&chars, at)?,
            '0'..='9' | '-' => number(&chars, at)?,
            word if is_word(word) => word_at(&chars, at),
            _ => sign(&chars, at)?,
        };
        tokens.push(token);
        at = next;
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '-')
}

fn word_at(chars: &[char], from: usize) -> (Token, usize) {
    let length = chars[from..].iter().take_while(|c| is_word(**c)).count();
    (Token::Word(chars[from..from + length].iter().collect()), from + length)
}

fn string(chars: &[char], from: usize) -> Result<(Token, usize), QueryError> {
    let quote = chars[from];
    let mut text = String::new();
    let mut at = from + 1;
    while let Some(&c) = chars.get(at) {
        if c != quote {
            text.push(c);
            at += 1;
        } else if chars.get(at + 1) == Some(&quote) {
            text.push(quote);
            at += 2;
        } else {
            return Ok((Token::Literal(Value::String(text)), at + 1));
        }
    }
    Err(QueryError::Unreadable(from))
}

fn number(chars: &[char], from: usize) -> Result<(Token, usize), QueryError> {
    let length =
        chars[from..].iter().take_while(|c| matches!(c, '0'..='9' | '-' | '.' | 'e' | 'E' | '+')).count();
    let text: String = chars[from..from + length].iter().collect();
    let number: Number = text.parse().map_err(|_| QueryError::Unreadable(from))?;
    Ok((Token::Literal(Value::Number(number)), from + length))
}

fn sign(chars: &[char], from: usize) -> Result<(Token, usize), QueryError> {
    let two = (chars[from], chars.get(from + 1).copied());
    match two {
        ('!', Some('=')) | ('<', Some('>')) => Ok((Token::Sign("!="), from + 2)),
        _ => {
            let one =
                ["*", "(", ")", "[", "]", ",", "="].into_iter().find(|sign| sign.starts_with(chars[from]));
            one.map(|sign| (Token::Sign(sign), from + 1)).ok_or(QueryError::Unreadable(from))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, selection: &Selection, conditions: &[(&str, Test)]) {
        let query = Query::parse(text).unwrap();
        let found: Vec<_> = query.conditions.iter().map(|c| (c.path.join("."), c.test.clone())).collect();
        let expected: Vec<_> =
            conditions.iter().map(|(path, test)| ((*path).to_owned(), test.clone())).collect();
        assert_eq!((&query.selection, found), (selection, expected), "{text}");
    }

    #[test]
    fn queries_of_sdk_samples_are_parsed() {
        check("SELECT * FROM devices", &Selection::All, &[]);
        check(
            "select * from devices where deviceId = 'it''s'",
            &Selection::All,
            &[("deviceId", Test::Is(json!("it's")))],
        );
        let member = |path: &str, name: &str| Member {
            path: path.split('.').map(str::to_owned).collect(),
            name: name.to_owned(),
        };
        let members = vec![member("deviceId", "deviceId"), member("tags.site", "site"), member("count", "n")];
        check(
            "SELECT deviceId, devices.tags.site, count AS n FROM devices",
            &Selection::Members(members.clone()),
            &[],
        );
        let twin = json!({"deviceId": "d", "tags": {"site": [1]}});
        assert_eq!(Member::row(&members, &twin), json!({"deviceId": "d", "site": [1]}));
        check("SELECT COUNT() AS n FROM devices", &Selection::Count("n".into()), &[]);
        check(
            "SELECT * FROM devices WHERE devices.tags.floor != 3 AND deviceId IN ['a', 'b'] AND capabilities.iotEdge = true",
            &Selection::All,
            &[
                ("tags.floor", Test::IsNot(json!(3))),
                ("deviceId", Test::OneOf(vec![json!("a"), json!("b")])),
                ("capabilities.iotEdge", Test::Is(json!(true))),
            ],
        );
    }

    #[test]
    fn unsupported_queries_are_refused_with_the_reason() {
        for (text, message) in [
            ("", "expected SELECT, found the end"),
            ("SELECT = FROM devices", "expected *, COUNT() or a property, found ="),
            ("SELECT deviceId status FROM devices", "expected FROM, found status"),
            ("SELECT deviceId, FROM devices", "expected FROM, found devices"),
            ("SELECT * FROM devices.modules", "expected devices, found devices.modules"),
            ("SELECT * FROM devices GROUP BY x", "expected WHERE, found GROUP"),
            ("SELECT * FROM devices WHERE a", "expected =, != or IN, found the end"),
            ("SELECT * FROM devices WHERE a = 1 OR b = 2", "expected AND, found OR"),
            ("SELECT * FROM devices WHERE a IN [1", "expected , or ], found the end"),
            ("SELECT * FROM devices WHERE a = 'x", "the query has an unreadable part at character 32"),
            ("SELECT ; FROM devices", "the query has an unreadable part at character 7"),
        ] {
            assert_eq!(Query::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn conditions_test_values_at_paths() {
        let twin = json!({"deviceId": "d", "tags": {"a": {"b": 1}}});
        for (text, holds) in [
            ("tags.a.b = 1", true),
            ("tags.a.b != 1", false),
            ("tags.a.b IN [2, 1]", true),
            ("tags.a.c != 1", false),
            ("deviceId = 'd'", true),
            ("deviceId.x = 'd'", false),
        ] {
            let query = Query::parse(&format!("SELECT * FROM devices WHERE {text}")).unwrap();
            assert_eq!(query.conditions[0].holds(&twin), holds, "{text}");
        }
    }

    proptest! {
        /// A query that is read has as many conditions as it has between `AND`s; errors point into the query.
        #[test]
        fn conditions_are_read_completely_or_not_at_all(
            text in "(a|tags\\.b) ?(=|!=) ?('[a-z ]{0,4}'|[0-9]{1,3})( AND c = true){0,3}|\\PC{0,60}",
        ) {
            let query = format!("SELECT * FROM devices WHERE {text}");
            match Query::parse(&query) {
                Ok(parsed) => {
                    prop_assert!(!parsed.conditions.is_empty());
                    let longer = Query::parse(&format!("{query} AND deviceId = 'd'")).unwrap();
                    prop_assert_eq!(&longer.conditions[..parsed.conditions.len()], &parsed.conditions[..]);
                    prop_assert_eq!(longer.conditions.len(), parsed.conditions.len() + 1);
                }
                Err(QueryError::Unreadable(at)) => prop_assert!(at < query.chars().count()),
                Err(_) => {}
            }
        }
    }
}
