//! What a device leaves behind when it goes elsewhere: pure functions.

use model::{Assignment, DeviceSpec, Generation, PendingStep, Registration, Residue, Status};

/// What stands, and what must be removed, when the work on a registration is given up. A hub may have been told already,
/// so a place that the device does not live at is to be cleaned up.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct AbandonedWork {
    /// Where the device lives.
    pub(super) standing: Option<Assignment>,
    /// What it may have left elsewhere.
    pub(super) trace: Option<Residue>,
}

/// What is left of a registration that goes another way from now on.
pub(super) fn leave(previous: Option<&Registration>) -> AbandonedWork {
    match previous.map(|previous| &previous.status) {
        Some(Status::Assigning { work, from, .. }) => give_up(work, from.as_ref()),
        _ => AbandonedWork { standing: previous.and_then(Registration::assignment).cloned(), trace: None },
    }
}

/// What is left of work that is not gone on with.
pub(super) fn give_up(work: &PendingStep, from: Option<&Assignment>) -> AbandonedWork {
    let Some(order) = work.order() else { return AbandonedWork { standing: from.cloned(), trace: None } };
    match from {
        Some(at) if at.place() == order.place() => {
            AbandonedWork { standing: Some(may_stand_as(at, order)), trace: None }
        }
        _ => AbandonedWork { standing: from.cloned(), trace: Some(order.trace()) },
    }
}

/// What a device leaves behind that has arrived. A device of another name is another one. Where its record does not say
/// which device it is, the one that was `found` in the course of the move counts: it was looked at under the name that the
/// registration had for itself.
pub(super) fn left_by(
    order: &DeviceSpec,
    from: Option<&Assignment>,
    found: Option<&Generation>,
) -> Option<Residue> {
    let trace = from.filter(|at| at.device_id == order.device_id && at.hub != order.hub)?.trace();
    let generation = trace.generation.or_else(|| found.cloned());
    Some(Residue { generation, ..trace })
}

/// The order with all that may be at its place already: what the device stood as, what it was to stand as, and what is
/// waiting there to be removed.
pub(super) fn knowing(
    order: DeviceSpec,
    leaving: &mut AbandonedWork,
    waiting: Option<Residue>,
) -> DeviceSpec {
    let place = order.place();
    let stood = leaving.standing.as_ref().map(Assignment::trace).filter(|trace| trace.place == place);
    let was_told = leaving.trace.take_if(|trace| trace.place == place);
    let known = [stood, was_told, waiting];
    order.after(known.into_iter().flatten().flat_map(|trace| trace.orders))
}

/// The assignment, in doubt whether the hub carried this order out. It may have had to create the device anew.
fn may_stand_as(at: &Assignment, order: &DeviceSpec) -> Assignment {
    let mut told = at.told.clone();
    let new =
        order.trace().orders.into_iter().filter(|digest| *digest != at.order && !at.told.contains(digest));
    told.extend(new);
    told.drain(..told.len().saturating_sub(DeviceSpec::MAX_TOLD));
    Assignment { told, generation: None, ..at.clone() }
}

#[cfg(test)]
mod tests {
    use model::{HubCredentials, Sha256Thumbprint};
    use testkit::sample;

    use super::*;

    fn order(hub: &str, leaf: &str) -> DeviceSpec {
        let credentials = HubCredentials::Certificate(Sha256Thumbprint::of(leaf.as_bytes()));
        DeviceSpec { hub: sample::hub_name(hub), credentials, ..sample::order("dev") }
    }

    fn at(hub: &str, leaf: &str) -> Assignment {
        order(hub, leaf).assignment()
    }

    fn work(order: DeviceSpec) -> PendingStep {
        PendingStep::Ensure(Box::new(order))
    }

    #[test]
    fn work_that_is_given_up_leaves_a_trace_where_the_device_does_not_live() {
        let elsewhere = order("b.hub", "leaf");
        for from in [None, Some(at("a.hub", "leaf"))] {
            let left = give_up(&work(elsewhere.clone()), from.as_ref());
            assert_eq!(left, AbandonedWork { standing: from, trace: Some(elsewhere.trace()) });
        }
        let renewed = order("a.hub", "new");
        let left = give_up(&work(renewed.clone()), Some(&at("a.hub", "old")));
        let standing = left.standing.unwrap();
        assert_eq!((left.trace, &standing.order), (None, &at("a.hub", "old").order));
        assert_eq!(standing.told, [renewed.digest()], "it may stand as either");
        let named = Assignment { generation: model::Generation::parse("1").ok(), ..at("a.hub", "old") };
        let doubted = give_up(&work(renewed.clone()), Some(&named)).standing;
        assert_eq!(doubted.unwrap().generation, None, "it may have been created anew");
        let again = give_up(&work(renewed.clone()), Some(&standing)).standing;
        assert_eq!(again, Some(standing), "once is enough");
    }

    #[test]
    fn who_arrives_leaves_only_its_own_name_on_another_hub() {
        let arrived = order("b.hub", "leaf");
        assert_eq!(left_by(&arrived, None, None), None);
        assert_eq!(left_by(&arrived, Some(&at("b.hub", "old")), None), None);
        let (old, found) = (at("a.hub", "old"), model::Generation::parse("2").unwrap());
        assert_eq!(left_by(&arrived, Some(&old), None), Some(old.trace()), "nothing says which device it is");
        let left = left_by(&arrived, Some(&old), Some(&found)).and_then(|trace| trace.generation);
        assert_eq!(left.as_ref(), Some(&found), "the one that moved");
        let known = model::Generation::parse("1").ok();
        let recorded = Assignment { generation: known.clone(), ..old };
        let left = left_by(&arrived, Some(&recorded), Some(&found)).and_then(|trace| trace.generation);
        assert_eq!(left, known, "the one of the record");
        let renamed =
            Assignment { device_id: model::DeviceId::parse("other").unwrap(), ..at("a.hub", "leaf") };
        assert_eq!(left_by(&arrived, Some(&renamed), None), None);
    }

    #[test]
    fn an_order_knows_what_may_be_at_its_place() {
        let (one, two, three) = (order("a.hub", "1"), order("a.hub", "2"), order("a.hub", "3"));
        let told = |leaving: AbandonedWork, waiting: Option<Residue>| {
            let mut left = leaving;
            let order = knowing(order("a.hub", "now"), &mut left, waiting);
            (order.told, left.trace.is_some())
        };
        let leaving = AbandonedWork { standing: Some(one.assignment()), trace: Some(two.trace()) };
        let all = vec![one.digest(), two.digest(), three.digest()];
        assert_eq!(told(leaving, Some(three.trace())), (all, false));
        let elsewhere =
            AbandonedWork { standing: Some(at("b.hub", "1")), trace: Some(order("c.hub", "2").trace()) };
        assert_eq!(told(elsewhere, None), (vec![], true));
    }

    /// However often the keys change while a hub is down.
    #[test]
    fn the_last_orders_are_remembered_and_no_more() {
        let orders: Vec<DeviceSpec> = (0..40).map(|number| order("a.hub", &number.to_string())).collect();
        let last: Vec<_> = orders[40 - DeviceSpec::MAX_TOLD..].iter().map(DeviceSpec::digest).collect();

        let mut standing = at("a.hub", "first");
        for renewed in &orders {
            standing = give_up(&work(renewed.clone()), Some(&standing)).standing.unwrap();
        }
        assert_eq!(standing.told, last);
        let waiting =
            Residue { orders: orders.iter().map(DeviceSpec::digest).collect(), ..orders[0].trace() };
        assert_eq!(knowing(order("a.hub", "now"), &mut AbandonedWork::default(), Some(waiting)).told, last);
    }
}
