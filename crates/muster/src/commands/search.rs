//! The arguments of searches.

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use model::{AttestedBy, DeviceIdPrefix, IdPrefix, Period, Timestamp};

use super::since::Since;

/// Conditions on enrollments as well as registrations.
#[derive(Args)]
pub struct SearchArgs {
    /// Only those whose ID begins so, in any case.
    #[arg(long, value_parser = |text: &str| IdPrefix::parse(text).ok_or("no ID begins so"))]
    pub prefix: Option<IdPrefix>,
    /// Only those whose device ID at the hub begins so, in any case.
    #[arg(long, value_name = "PREFIX", value_parser = |text: &str| DeviceIdPrefix::parse(text).ok_or("no device ID begins so"))]
    pub device: Option<DeviceIdPrefix>,
    /// Only those with this attestation mechanism.
    #[arg(long, value_parser = one_of(AttestedBy::ALL.map(AttestedBy::name), AttestedBy::from_name))]
    pub mechanism: Option<AttestedBy>,
    /// Only those that changed since then: 90s, 30m, 24h or 7d ago, a day, or an instant in UTC.
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only those that did not change after then.
    #[arg(long, value_name = "TIME")]
    until: Option<Since>,
    /// Print how many there are, instead of them.
    #[arg(long, conflicts_with = "limit")]
    pub count: bool,
    /// Only those that were created then or later.
    #[arg(long, value_name = "TIME")]
    created_since: Option<Since>,
    /// Only those that were not created after then.
    #[arg(long, value_name = "TIME")]
    created_until: Option<Since>,
}

impl SearchArgs {
    /// Returns the period of creation, seen from now.
    pub fn created(&self, now: Timestamp) -> Period {
        period(self.created_since, self.created_until, now)
    }

    /// Returns the period of the last change, seen from now.
    pub fn updated(&self, now: Timestamp) -> Period {
        period(self.since, self.until, now)
    }
}

fn period(since: Option<Since>, until: Option<Since>, now: Timestamp) -> Period {
    Period { since: since.map(|it| it.before(now)), until: until.map(|it| it.before(now)) }
}

/// Parses one of these names.
pub fn one_of<T: Clone + Send + Sync + 'static, const N: usize>(
    names: [&'static str; N],
    parse: fn(&str) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    let parser = PossibleValuesParser::new(names);
    parser.try_map(move |name| parse(&name).ok_or("unknown name"))
}
