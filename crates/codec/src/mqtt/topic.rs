//! Topic names and topic filters (§4.7).

/// Returns whether `text` is a topic name: not empty, without wildcards and U+0000.
pub fn is_topic(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0))
}

/// Whether `text` may be subscribed to: not empty, no U+0000, `+` and `#` only as whole levels, `#` only as
/// the last.
pub fn is_filter(text: &str) -> bool {
    let mut levels = text.split('/').peekable();
    let mut valid = !text.is_empty() && !text.contains('\0');
    while let Some(level) = levels.next() {
        valid &= match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            other => !other.contains(['+', '#']),
        };
    }
    valid
}

/// Whether a message to `topic` belongs to a subscription of `filter`. Wildcards in the first level do not
/// match topics that begin with `$` (§4.7.2).
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut wanted, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) => return true, // also the parent level itself: `a/#` matches `a`
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            (_, _) => return false,
        }
    }
}

/// Returns whether a topic exists that matches both filters.
pub fn filters_overlap(one: &str, other: &str) -> bool {
    let hides = |filter: &str, from: &str| from.starts_with('$') && filter.starts_with(['+', '#']);
    if hides(one, other) || hides(other, one) {
        return false;
    }
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(level), Some(same)) if level == same => {}
            (_, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics() {
        for (text, valid) in [
            ("a", true),
            ("/", true),
            ("$dps/registrations/PUT/iotdps-register/?$rid=1", true),
            ("a b/ü", true),
            ("", false),
            ("a/+", false),
            ("a/#", false),
            ("a+b", false),
            ("a\0", false),
        ] {
            assert_eq!(is_topic(text), valid, "{text:?}");
        }
    }

    #[test]
    fn filters() {
        for (text, valid) in [
            ("#", true),
            ("+", true),
            ("a/+/b/#", true),
            ("/", true),
            ("$dps/registrations/res/#", true),
            ("", false),
            ("a/#/b", false),
            ("a#", false),
            ("a/b#", false),
            ("#/a", false),
            ("a+", false),
            ("a/+b/c", false),
            ("a\0", false),
        ] {
            assert_eq!(is_filter(text), valid, "{text:?}");
        }
    }

    #[test]
    fn matching() {
        for (filter, topic, matches) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("+/+", "/a", true),
            ("+", "/a", false),
            ("#", "a/b", true),
            ("#", "$a/b", false),
            ("+/b", "$a/b", false),
            ("$a/#", "$a/b", true),
        ] {
            assert_eq!(filter_matches(filter, topic), matches, "{filter} against {topic}");
        }
    }

    #[test]
    fn overlapping_filters() {
        for (one, other, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/+", "a/b/#", true),
            ("a/+/c", "a/b/#", true),
            ("a/#", "a", true),
            ("a/b", "a", false),
            ("#", "a/b", true),
            ("#", "$a/b", false),
            ("+/b", "$a/b", false),
            ("$a/#", "$a/b/+", true),
        ] {
            assert_eq!(filters_overlap(one, other), expected, "{one} {other}");
            assert_eq!(filters_overlap(other, one), expected, "{other} {one}");
        }
    }

    proptest! {
        #[test]
        fn a_topic_of_both_filters_shows_that_they_overlap(
            topic in "[$ab]?(/[ab]){0,3}",
            one in "([$ab+]?(/[ab+]){0,3}(/#)?)|#",
            other in "([$ab+]?(/[ab+]){0,3}(/#)?)|#",
        ) {
            let both = filter_matches(&one, &topic) && filter_matches(&other, &topic);
            prop_assert!(!both || filters_overlap(&one, &other));
        }
    }
}
