//! Text from peers, escaped for output.

use std::fmt::{self, Write};

/// Text from a peer (a certificate's subject, a header, an error body), escaped for a log line, a table or a stored record: one
/// line of bounded length, without control characters, escape sequences, bidirectional overrides or invisible characters.
///
/// Escaping is idempotent, so that each edge escapes what it writes without relying on others. Two texts that look alike but differ
/// (by combining marks or invisible letters) differ in their escaped form, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerText(String);

impl PeerText {
    /// The usual bound of one text, in bytes.
    pub const MAX_BYTES: usize = 400;

    /// Escapes a text and truncates it to at most `max_bytes`, including a final `…`.
    ///
    /// Formatting stops at the bound, so that a text of megabytes costs no more than the bound.
    pub fn new(text: impl fmt::Display, max_bytes: usize) -> Self {
        let mut escaper = Escaper { text: String::new(), max_bytes, cut_at: 0 };
        // The only possible error is that the bound was reached.
        let _ = write!(escaper, "{text}");
        PeerText(escaper.text)
    }

    /// Returns the escaped text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the escaped text, owned.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Whether a character is written unescaped. Those of `char::escape_debug` are not (controls, format characters such as
    /// bidirectional overrides and zero-width joiners, separators, private and unassigned characters, combining marks), and neither are
    /// letters without a glyph.
    pub fn shows(letter: char) -> bool {
        let is_quoting = matches!(letter, '\'' | '"' | '\\');
        is_quoting || (letter.escape_debug().len() == 1 && !WITHOUT_GLYPH.contains(&letter))
    }
}

/// Letters and symbols by category that have no glyph: the Hangul fillers and the empty Braille pattern.
const WITHOUT_GLYPH: [char; 5] = ['\u{115F}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{FFA0}'];

/// What replaces the truncated part.
const CUT: char = '…';

impl fmt::Display for PeerText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

struct Escaper {
    text: String,
    max_bytes: usize,
    /// The end of the last character after which [`CUT`] still fits.
    cut_at: usize,
}

impl fmt::Write for Escaper {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if PeerText::shows(letter) {
                self.text.push(letter);
            } else {
                // Not `escape_debug`, which leaves the letters without a glyph.
                match letter {
                    '\n' | '\r' | '\t' => self.text.extend(letter.escape_default()),
                    _ => self.text.extend(letter.escape_unicode()),
                }
            }
            if self.text.len() > self.max_bytes {
                self.text.truncate(self.cut_at);
                if self.max_bytes >= CUT.len_utf8() {
                    self.text.push(CUT);
                }
                return Err(fmt::Error);
            }
            if self.text.len() + CUT.len_utf8() <= self.max_bytes {
                self.cut_at = self.text.len();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        for (text, shown) in [
            ("CN=dev-1, O=Müller & Söhne \"x\" \\ 東京 ✓", "CN=dev-1, O=Müller & Söhne \"x\" \\ 東京 ✓"),
            ("a\nERROR forged", "a\\nERROR forged"),
            ("a\r\tb\0", "a\\r\\tb\\u{0}"),
            ("\u{1b}[2J\u{9b}2J\u{7f}", "\\u{1b}[2J\\u{9b}2J\\u{7f}"),
            ("\u{202e}gpj\u{2066}\u{2069}", "\\u{202e}gpj\\u{2066}\\u{2069}"),
            ("a\u{200b}b\u{feff}\u{ad}", "a\\u{200b}b\\u{feff}\\u{ad}"),
            ("\u{2028}\u{2029}\u{a0}", "\\u{2028}\\u{2029}\\u{a0}"),
            ("\u{3164}\u{2800}\u{e0041}", "\\u{3164}\\u{2800}\\u{e0041}"),
            ("e\u{301}\u{fe0f}", "e\\u{301}\\u{fe0f}"),
        ] {
            assert_eq!(PeerText::new(text, PeerText::MAX_BYTES).as_str(), shown, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        for (text, max, shown) in [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abc…"),
            ("ab\u{1b}\u{1b}", 9, "ab…"),
            ("éééé", 8, "éééé"),
            ("ééééé", 8, "éé…"),
            ("abc", 2, ""),
        ] {
            assert_eq!(PeerText::new(text, max).as_str(), shown, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_one_visible_bounded_line(text in "(?s).{0,300}", max in 0usize..300) {
            let shown = PeerText::new(&text, max);
            prop_assert!(shown.as_str().len() <= max);
            prop_assert!(shown.as_str().chars().all(PeerText::shows));
            prop_assert!(!shown.as_str().contains(|letter: char| letter.is_control()));
            prop_assert_eq!(PeerText::new(&shown, max), shown);
        }
    }
}
