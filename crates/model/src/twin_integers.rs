//! Finds integers of more than 64 bits in JSON text, because the parser turns them into doubles.

use crate::twin_rules::TwinRefusal;

/// Returns JSON text if it has no such integer. Text that is not JSON may pass, because the parser refuses it.
pub fn with_exact_integers(json: &[u8]) -> Result<&[u8], TwinRefusal> {
    let mut rest = json;
    while let Some(begin) = rest.iter().position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9')) {
        rest = &rest[begin..];
        let length = if rest.starts_with(b"\"") { string_length(rest) } else { number_length(rest) };
        let (token, after) = rest.split_at(length);
        if is_integer(token) && !is_exact(token) {
            let shown = &token[..token.len().min(SHOWN_DIGITS)];
            return Err(TwinRefusal::Integer(String::from_utf8_lossy(shown).into_owned()));
        }
        rest = after;
    }
    Ok(json)
}

fn is_exact(integer: &[u8]) -> bool {
    let text = str::from_utf8(integer).unwrap_or_default();
    text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()
}

fn is_integer(token: &[u8]) -> bool {
    token.iter().all(|byte| matches!(byte, b'-' | b'0'..=b'9'))
}

/// Skips a string, including the closing quote.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    let closing = text.iter().skip(1).position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    });
    closing.map_or(text.len(), |between| between + 2)
}

fn number_length(text: &[u8]) -> usize {
    let part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
    text.iter().position(|byte| !part(byte)).unwrap_or(text.len())
}

/// How many digits of a refused integer the error repeats.
const SHOWN_DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(json: &str, refused: Option<&str>) {
        let expected = refused.map_or(Ok(()), |digits| Err(TwinRefusal::Integer(digits.to_owned())));
        assert_eq!(with_exact_integers(json.as_bytes()).map(drop), expected, "{json}");
    }

    #[test]
    fn integers_beyond_64_bits_are_found_and_nothing_else() {
        check(r#"{"a":18446744073709551615,"b":-9223372036854775808}"#, None);
        check(r#"{"a":18446744073709551616}"#, Some("18446744073709551616"));
        check(r#"{"a":[1,{"b":-9223372036854775809}]}"#, Some("-9223372036854775809"));
        check(&format!("[{}]", "9".repeat(500)), Some(&"9".repeat(64)));
        check(r#"[1e300,-1.5E+300,18446744073709551616.0,99999999999999999999e-3]"#, None);
        check(r#"{"99999999999999999999":"99999999999999999999"}"#, None);
        check(r#"{"a\"99999999999999999999":"\\","b":99999999999999999999}"#, Some("99999999999999999999"));
        check(r#"{"a":"without its end 99999999999999999999"#, None);
        check("", None);
    }

    proptest! {
        /// The parser is the measure: an integer that it takes for a double is refused.
        #[test]
        fn the_parser_agrees(digits in "-?[1-9][0-9]{0,30}") {
            let parsed: serde_json::Number = serde_json::from_str(&digits).unwrap();
            prop_assert_eq!(with_exact_integers(digits.as_bytes()).is_err(), parsed.is_f64());
        }

        /// Another reader agrees on JSON text: the integers in it that it reads as doubles are refused, and nothing else.
        #[test]
        fn integers_in_any_text_are_judged_as_by_the_parser(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                r#"\[(-?[1-9][0-9]{0,22},|"[0-9]{20,30}",|[0-9]\.[0-9]{20}e3,){0,3}1\]"#.prop_map(String::into_bytes),
            ],
        ) {
            if let Ok(values) = serde_json::from_slice::<Vec<&serde_json::value::RawValue>>(&bytes) {
                let is_refused = |raw: &&&serde_json::value::RawValue| {
                    let is_integer = raw.get().bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
                    is_integer && serde_json::from_str::<serde_json::Number>(raw.get()).is_ok_and(|it| it.is_f64())
                };
                prop_assert_eq!(with_exact_integers(&bytes).is_err(), values.iter().any(|raw| is_refused(&raw)));
            }
            if let Err(TwinRefusal::Integer(shown)) = with_exact_integers(&bytes) {
                prop_assert!(shown.chars().count() <= SHOWN_DIGITS);
            }
        }
    }
}
