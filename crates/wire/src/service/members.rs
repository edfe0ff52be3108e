//! Parsing and writing of JSON objects member by member. Errors name a member by its path and never include its value,
//! which may be a secret.

use std::fmt;

use model::{TwinCollection, with_exact_integers};
use serde_json::{Map, Value};

use crate::without_bom;

/// The reasons why a body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body is not JSON.
    #[error("request body is not valid JSON: {0}")]
    NotJson(String),
    /// A member is missing or invalid.
    #[error("{path}: {problem}")]
    Member {
        /// The path of the member, such as `enrollments[2].attestation.type`; `request body` for the whole body.
        path: String,
        /// The problem, as the rest of a sentence that begins with the path.
        problem: String,
    },
}

/// Parses the bytes of a body. Integers beyond 64 bits are refused: they would become other numbers.
pub(super) fn parse_json(body: &[u8]) -> Result<Value, BodyError> {
    let value =
        serde_json::from_slice(without_bom(body)).map_err(|error| BodyError::NotJson(error.to_string()))?;
    let exact = with_exact_integers(body).map_err(|_| BodyError::Member {
        path: "request body".to_owned(),
        problem: "holds an integer beyond 64 bits".to_owned(),
    });
    exact.map(|_| value)
}

/// A JSON object, and the path to it.
#[derive(Clone)]
pub(super) struct Members<'a> {
    path: String,
    members: &'a Map<String, Value>,
}

impl<'a> Members<'a> {
    /// Returns the members of the whole body.
    pub fn of_body(body: &'a Value) -> Result<Self, BodyError> {
        Self::at(String::new(), body)
    }

    /// Returns the members of an object.
    pub fn object(&self, name: &str) -> Result<Option<Members<'a>>, BodyError> {
        self.find(name).map(|value| Self::at(self.path_of(name), value)).transpose()
    }

    /// Returns the items of an array of objects; an item that is not an object is an error of its own.
    pub fn items(&self, name: &str) -> Result<Option<Vec<Result<Members<'a>, BodyError>>>, BodyError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        let items = value.as_array().ok_or_else(|| self.refuse(name, "must be an array"))?;
        let at = |(index, item)| Self::at(format!("{}[{index}]", self.path_of(name)), item);
        Ok(Some(items.iter().enumerate().map(at).collect()))
    }

    /// Parses the items of an array of strings.
    pub fn list<T, E: fmt::Display>(
        &self,
        name: &str,
        parse: impl Fn(&'a str) -> Result<T, E>,
    ) -> Result<Option<Vec<T>>, BodyError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        let items = value.as_array().ok_or_else(|| self.refuse(name, "must be an array"))?;
        let parsed = items.iter().enumerate().map(|(index, item)| {
            let name = format!("{name}[{index}]");
            let text = item.as_str().ok_or_else(|| self.refuse(&name, "must be a string"))?;
            parse(text).map_err(|error| self.refuse(&name, error))
        });
        parsed.collect::<Result<_, _>>().map(Some)
    }

    /// Parses a Boolean.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, BodyError> {
        // Azure CLI sends some Booleans as strings.
        let flag = |value: &Value| match value {
            Value::Bool(flag) => Ok(flag.to_owned()),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(self.refuse(name, "must be true or false")),
        };
        self.find(name).map(flag).transpose()
    }

    /// Returns the value of a member.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.find(name)
    }

    /// Parses a whole number that is not negative.
    pub fn integer(&self, name: &str) -> Result<Option<u64>, BodyError> {
        let number = |value: &Value| {
            let text = || value.as_str().and_then(|text| text.trim().parse().ok());
            value.as_u64().or_else(text).ok_or_else(|| self.refuse(name, "must be a whole number"))
        };
        self.find(name).map(number).transpose()
    }

    /// Returns an object with any members.
    pub fn collection(&self, name: &str) -> Result<Option<TwinCollection>, BodyError> {
        Ok(self.object(name)?.map(|object| TwinCollection::from(object.members.clone())))
    }

    /// Parses a string; the empty string counts as absent.
    pub fn parsed<T, E: fmt::Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Result<Option<T>, BodyError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| self.refuse(name, "must be a string"))?;
        if text.is_empty() {
            return Ok(None);
        }
        parse(text).map(Some).map_err(|error| self.refuse(name, error))
    }

    /// Parses an enumerated string, in any case.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, BodyError> {
        self.parsed(name, |text| {
            let known = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
            known.map(|(_, meaning)| *meaning).ok_or_else(|| {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                format!("must be one of {}", words.join(", "))
            })
        })
    }

    /// Returns the value of a mandatory member, or an error if it is absent.
    pub fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, BodyError> {
        value.ok_or_else(|| self.refuse(name, "is missing"))
    }

    /// Creates an error about a member.
    pub fn refuse(&self, name: &str, problem: impl fmt::Display) -> BodyError {
        BodyError::Member { path: self.path_of(name), problem: problem.to_string() }
    }

    fn at(path: String, value: &'a Value) -> Result<Self, BodyError> {
        match value {
            Value::Object(members) => Ok(Members { path, members }),
            _ => {
                let path = if path.is_empty() { "request body".into() } else { path };
                Err(BodyError::Member { path, problem: "must be a JSON object".into() })
            }
        }
    }

    /// Finds a member by its exact name, or else by its name in any case; null counts as absent.
    fn find(&self, name: &str) -> Option<&'a Value> {
        let exact = self.members.get(name);
        let found = exact.or_else(|| {
            self.members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        });
        found.filter(|value| !value.is_null())
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// A JSON object under construction.
#[derive(Default)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    /// Adds a member.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a member if there is a value.
    pub fn put_some(&mut self, name: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.put(name, value);
        }
        self
    }

    /// Returns the finished object.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_name_the_path_and_hide_the_value() {
        let body = json!({"a": {"list": [{"key": 5}, "secret"], "flag": "secret", "word": "secret"}});
        let a = Members::of_body(&body).unwrap().object("A").unwrap().unwrap();
        let refusals = [
            (a.items("list").unwrap().unwrap().remove(1).err(), "a.list[1]: must be a JSON object"),
            (a.items("flag").err(), "a.flag: must be an array"),
            (a.list("list", |text| Ok::<_, BodyError>(text.len())).err(), "a.list[0]: must be a string"),
            (a.flag("flag").err(), "a.flag: must be true or false"),
            (a.word("word", &[("x", 1), ("y", 2)]).err(), "a.word: must be one of x, y"),
            (a.required("none", a.flag("none").unwrap()).err(), "a.none: is missing"),
            (Members::of_body(&json!([])).err(), "request body: must be a JSON object"),
        ];
        for (error, text) in refusals {
            assert_eq!(error.unwrap().to_string().to_lowercase(), text.to_lowercase());
        }
    }

    #[test]
    fn numbers_and_booleans_may_be_strings() {
        let body = json!({"yes": "True", "no": "false", "bad": "maybe", "five": "5", "minus": "-5"});
        let members = Members::of_body(&body).unwrap();
        assert_eq!((members.flag("yes"), members.flag("no")), (Ok(Some(true)), Ok(Some(false))));
        assert!(members.flag("bad").is_err());
        assert_eq!(members.integer("five"), Ok(Some(5)));
        assert!(members.integer("minus").is_err());
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_eq!(parse_json(b"\xEF\xBB\xBF{\"a\":1}").unwrap(), json!({"a": 1}));
        assert!(parse_json(b"\xEF\xBB\xBF\xEF\xBB\xBF{}").is_err());
    }

    #[test]
    fn names_match_in_any_case_and_null_is_absent() {
        let body = json!({"Flag": true, "flag": false, "NONE": null, "empty": ""});
        let members = Members::of_body(&body).unwrap();
        assert_eq!(members.flag("flag").unwrap(), Some(false));
        assert_eq!(members.flag("FLAG").unwrap(), Some(true));
        assert_eq!(members.flag("none").unwrap(), None);
        assert_eq!(members.parsed("empty", |_| Err::<(), _>("parsed")).unwrap(), None);
    }
}
