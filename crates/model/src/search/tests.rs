//! What searches find.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::TwinCollection;

proptest! {
    #[test]
    fn the_ids_with_a_prefix_are_those_between_its_bounds(
        prefix in "[a-z0-9._:-]{1,4}", rest in "[a-z0-9._:-]{0,3}", other in "[a-z0-9._:-]{1,6}",
    ) {
        let before = IdPrefix::parse(&prefix).unwrap().just_before();
        let longer = format!("{prefix}{rest}");
        prop_assert!(before < longer);
        prop_assert_eq!(other > before, other >= prefix);
        let after = IdPrefix::parse(&prefix).unwrap().just_after();
        prop_assert!(longer < after);
        prop_assert_eq!(other > before && other < after, other.starts_with(&prefix));
    }

    #[test]
    fn a_device_id_is_found_by_how_it_begins_in_any_case(
        id in "[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,12}", prefix in "[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,3}",
    ) {
        let (term, wanted) = (SearchTerm::device(&id), DeviceIdPrefix::parse(&prefix).unwrap());
        let begins = id.to_ascii_lowercase().starts_with(&prefix.to_ascii_lowercase());
        prop_assert_eq!(Condition::beginning(&wanted.term()).admits(&term), begins);
        let own = DeviceIdPrefix::parse(&id[..id.len().min(3)]).unwrap();
        prop_assert!(Condition::beginning(&own.term()).admits(&term));
    }

    #[test]
    fn a_period_admits_the_times_within_it(at: i64, since: Option<i64>, until: Option<i64>) {
        let [at_time, since_time, until_time] = [Some(at), since, until].map(|it| it.map(Timestamp::from_ticks));
        let period = Period { since: since_time, until: until_time };
        let is_within = since.is_none_or(|since| at >= since) && until.is_none_or(|until| at <= until);
        let term = SearchTerm::of_time(term::UPDATED, at_time.unwrap());
        prop_assert_eq!(period.condition(term::UPDATED).is_none_or(|it| it.admits(&term)), is_within);
        let other = SearchTerm::of_time(term::CREATED, at_time.unwrap());
        prop_assert!(period.condition(term::UPDATED).is_none_or(|it| !it.admits(&other)));
    }
}

#[test]
fn prefixes_have_letters_of_ids() {
    assert_eq!(IdPrefix::parse("Line-1.").unwrap().as_str(), "line-1.");
    for wrong in ["", "a b", "a/", "\u{e9}", &"x".repeat(129)] {
        assert_eq!(IdPrefix::parse(wrong), None, "{wrong}");
        assert_eq!(DeviceIdPrefix::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_tag_is_found_by_its_path_and_value() {
    let long = "x".repeat(MAX_TERM_BYTES);
    let tags = json!({
        "site": "North", "none": null, "location": {"building": 43, "floors": [1, 2, {"wing": true}]}, "long": long,
    });
    let Value::Object(tags) = tags else { unreachable!() };
    let terms: Vec<_> = term::tags_of(&TwinCollection::from(tags)).into_iter().collect();
    for (tag, is_found) in [
        ("site=North", true),
        ("site=north", false),
        ("location.building=43", true),
        ("location.building=4", false),
        ("location.floors=2", true),
        ("location.floors.wing=true", true),
        ("none=null", false),
        ("building=43", false),
    ] {
        let condition = Condition::any_of(vec![TagCondition::parse(tag).unwrap().term()]);
        assert_eq!(condition.holds_for(&terms), is_found, "{tag}");
    }
    for wrong in ["", "site", "=1", "a..b=1", &format!("long={long}")] {
        assert_eq!(TagCondition::parse(wrong), None, "{wrong}");
    }
}

/// However many tags a twin has: each once, and of those at most 64.
#[test]
fn the_terms_of_tags_are_bounded() {
    let (many, same) = ((0..4000).collect::<Vec<_>>(), vec![0; 4000]);
    let long = "x".repeat(240);
    for (elements, expected) in [(many, MAX_TAGS), (same, 1)] {
        let Value::Object(tags) = json!({ long.clone(): elements }) else { unreachable!() };
        let terms = term::tags_of(&TwinCollection::from(tags));
        assert_eq!(terms.len(), expected);
        assert!(terms.iter().map(|term| term.as_str().len()).sum::<usize>() <= 16 * 1024);
    }
}
