//! The subscriptions of a client, each with its granted QoS (§3.8.4).

use serde::{Deserialize, Serialize};

use super::{QoS, SubscribeReturn, filter_matches, is_filter};

/// Filters that one client may have. Devices have a handful.
pub const MAX_FILTERS: usize = 32;
/// Bytes of all of them together.
pub const MAX_FILTER_BYTES: usize = 4 * 1024;

/// The subscriptions of one client, bounded by [`MAX_FILTERS`] and [`MAX_FILTER_BYTES`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subscriptions(Vec<Subscription>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Subscription {
    #[serde(rename = "f")]
    filter: String,
    /// Whether QoS 1 was granted.
    #[serde(rename = "q")]
    is_acknowledged: bool,
}

impl Subscriptions {
    /// Subscribes to a filter, in place of an earlier subscription to the same one. Refuses what is no filter, and more
    /// than the bounds. QoS 2 is granted as QoS 1.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> SubscribeReturn {
        if !is_filter(filter) {
            return SubscribeReturn::Failure;
        }
        self.unsubscribe(filter);
        let bytes: usize = self.0.iter().map(|subscription| subscription.filter.len()).sum();
        if self.0.len() >= MAX_FILTERS || bytes + filter.len() > MAX_FILTER_BYTES {
            return SubscribeReturn::Failure;
        }
        let is_acknowledged = qos != QoS::AtMostOnce;
        let subscription = Subscription { filter: filter.to_owned(), is_acknowledged };
        let granted = subscription.granted();
        self.0.push(subscription);
        SubscribeReturn::Granted(granted)
    }

    /// Ends the subscription to a filter.
    pub fn unsubscribe(&mut self, filter: &str) {
        self.0.retain(|subscription| subscription.filter != filter);
    }

    /// Returns the QoS at which a topic is delivered: the highest that was granted to a filter that it belongs to
    /// (§3.3.5-1); `None` when it belongs to none.
    pub fn qos_of(&self, topic: &str) -> Option<QoS> {
        let matching = self.0.iter().filter(|subscription| filter_matches(&subscription.filter, topic));
        matching.map(Subscription::granted).max()
    }

    /// The filters.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|subscription| subscription.filter.as_str())
    }
}

impl Subscription {
    fn granted(&self) -> QoS {
        if self.is_acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_granted_qos_of_the_matching_filters_counts() {
        let mut subscriptions = Subscriptions::default();
        for (filter, qos, granted) in [
            ("a/#", QoS::AtMostOnce, SubscribeReturn::Granted(QoS::AtMostOnce)),
            ("a/+", QoS::ExactlyOnce, SubscribeReturn::Granted(QoS::AtLeastOnce)),
            ("a/b#", QoS::AtMostOnce, SubscribeReturn::Failure),
        ] {
            assert_eq!(subscriptions.subscribe(filter, qos), granted, "{filter}");
        }
        let qos =
            |subscriptions: &Subscriptions| ["a/b", "a/b/c", "b"].map(|topic| subscriptions.qos_of(topic));
        let (zero, one) = (Some(QoS::AtMostOnce), Some(QoS::AtLeastOnce));
        assert_eq!(qos(&subscriptions), [one, zero, None]);
        assert_eq!(
            subscriptions.subscribe("a/+", QoS::AtMostOnce),
            SubscribeReturn::Granted(QoS::AtMostOnce)
        );
        assert_eq!(qos(&subscriptions), [zero, zero, None]);
        subscriptions.unsubscribe("a/#");
        assert_eq!(qos(&subscriptions), [zero, None, None]);
        let stored = serde_json::to_string(&subscriptions).unwrap();
        assert_eq!(stored, r#"[{"f":"a/+","q":false}]"#);
        assert_eq!(serde_json::from_str::<Subscriptions>(&stored).unwrap(), subscriptions);
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let mut many = Subscriptions::default();
        let granted = |code: SubscribeReturn| code != SubscribeReturn::Failure;
        let granted_filters =
            (0..100).filter(|n| granted(many.subscribe(&format!("f/{n}"), QoS::AtMostOnce)));
        assert_eq!(granted_filters.count(), MAX_FILTERS);
        assert!(granted(many.subscribe("f/0", QoS::AtLeastOnce)), "a filter takes the place of its like");
        let mut long = Subscriptions::default();
        assert!(granted(long.subscribe(&"a".repeat(MAX_FILTER_BYTES), QoS::AtMostOnce)));
        assert!(!granted(long.subscribe("b", QoS::AtMostOnce)));
    }
}
