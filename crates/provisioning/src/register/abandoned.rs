//! What a device leaves behind when it goes elsewhere: pure functions.

use model::{Assignment, DeviceSpec, Generation, PendingStep, Registration, Residue, Status};

/// What stands, and what must be removed, when the work on a registration is given up. A hub may have been told already,
/// so a place that the device does not live at is to be cleaned up.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct AbandonedWork {
    /// Where the device lives.
    pub(super) current: Option<Assignment>,
    /// What it may have left elsewhere.
    pub(super) residue: Option<Residue>,
}

/// What is left of a registration that goes another way from now on.
pub(super) fn leave(previous: Option<&Registration>) -> AbandonedWork {
    match previous.map(|previous| &previous.status) {
        Some(Status::Assigning { step, from, .. }) => give_up(step, from.as_ref()),
        _ => AbandonedWork { current: previous.and_then(Registration::assignment).cloned(), residue: None },
    }
}

/// What is left of work that is not gone on with.
pub(super) fn give_up(step: &PendingStep, from: Option<&Assignment>) -> AbandonedWork {
    let Some(spec) = step.spec() else { return AbandonedWork { current: from.cloned(), residue: None } };
    match from {
        Some(at) if at.hub_device() == spec.hub_device() => {
            AbandonedWork { current: Some(may_stand_as(at, spec)), residue: None }
        }
        _ => AbandonedWork { current: from.cloned(), residue: Some(spec.residue()) },
    }
}

/// What a device leaves behind that has arrived. A device of another name is another one. Where its record does not say
/// which device it is, the one that was `found` in the course of the move counts: it was looked at under the name that the
/// registration had for itself.
pub(super) fn left_by(
    spec: &DeviceSpec,
    from: Option<&Assignment>,
    found: Option<&Generation>,
) -> Option<Residue> {
    let residue = from.filter(|at| at.device_id == spec.device_id && at.hub != spec.hub)?.residue();
    let generation = residue.generation.or_else(|| found.cloned());
    Some(Residue { generation, ..residue })
}

/// The order with all that may be at its place already: what the device stood as, what it was to stand as, and what is
/// waiting there to be removed.
pub(super) fn knowing(spec: DeviceSpec, leaving: &mut AbandonedWork, waiting: Option<Residue>) -> DeviceSpec {
    let hub_device = spec.hub_device();
    let stood =
        leaving.current.as_ref().map(Assignment::residue).filter(|residue| residue.hub_device == hub_device);
    let was_told = leaving.residue.take_if(|residue| residue.hub_device == hub_device);
    let known = [stood, was_told, waiting];
    spec.with_sent(known.into_iter().flatten().flat_map(|residue| residue.specs))
}

/// The assignment, in doubt whether the hub carried this order out. It may have had to create the device anew.
fn may_stand_as(at: &Assignment, spec: &DeviceSpec) -> Assignment {
    let mut sent = at.sent.clone();
    let new =
        spec.residue().specs.into_iter().filter(|digest| *digest != at.spec && !at.sent.contains(digest));
    sent.extend(new);
    sent.drain(..sent.len().saturating_sub(DeviceSpec::MAX_SENT));
    Assignment { sent, generation: None, ..at.clone() }
}

#[cfg(test)]
mod tests {
    use certpath::Sha256Thumbprint;
    use model::HubCredentials;
    use testkit::sample;

    use super::*;

    fn spec(hub: &str, leaf: &str) -> DeviceSpec {
        let credentials = HubCredentials::Certificate(Sha256Thumbprint::of(leaf.as_bytes()));
        DeviceSpec { hub: sample::hub_name(hub), credentials, ..sample::device_spec("dev") }
    }

    fn at(hub: &str, leaf: &str) -> Assignment {
        spec(hub, leaf).assignment()
    }

    fn step(spec: DeviceSpec) -> PendingStep {
        PendingStep::Ensure(Box::new(spec))
    }

    #[test]
    fn work_that_is_given_up_leaves_a_trace_where_the_device_does_not_live() {
        let elsewhere = spec("b.hub", "leaf");
        for from in [None, Some(at("a.hub", "leaf"))] {
            let left = give_up(&step(elsewhere.clone()), from.as_ref());
            assert_eq!(left, AbandonedWork { current: from, residue: Some(elsewhere.residue()) });
        }
        let renewed = spec("a.hub", "new");
        let left = give_up(&step(renewed.clone()), Some(&at("a.hub", "old")));
        let current = left.current.unwrap();
        assert_eq!((left.residue, &current.spec), (None, &at("a.hub", "old").spec));
        assert_eq!(current.sent, [renewed.digest()], "it may stand as either");
        let named = Assignment { generation: model::Generation::parse("1").ok(), ..at("a.hub", "old") };
        let doubted = give_up(&step(renewed.clone()), Some(&named)).current;
        assert_eq!(doubted.unwrap().generation, None, "it may have been created anew");
        let again = give_up(&step(renewed.clone()), Some(&current)).current;
        assert_eq!(again, Some(current), "once is enough");
    }

    #[test]
    fn who_arrives_leaves_only_its_own_name_on_another_hub() {
        let arrived = spec("b.hub", "leaf");
        assert_eq!(left_by(&arrived, None, None), None);
        assert_eq!(left_by(&arrived, Some(&at("b.hub", "old")), None), None);
        let (old, found) = (at("a.hub", "old"), model::Generation::parse("2").unwrap());
        assert_eq!(
            left_by(&arrived, Some(&old), None),
            Some(old.residue()),
            "nothing says which device it is"
        );
        let left = left_by(&arrived, Some(&old), Some(&found)).and_then(|residue| residue.generation);
        assert_eq!(left.as_ref(), Some(&found), "the one that moved");
        let known = model::Generation::parse("1").ok();
        let recorded = Assignment { generation: known.clone(), ..old };
        let left = left_by(&arrived, Some(&recorded), Some(&found)).and_then(|residue| residue.generation);
        assert_eq!(left, known, "the one of the record");
        let renamed =
            Assignment { device_id: model::DeviceId::parse("other").unwrap(), ..at("a.hub", "leaf") };
        assert_eq!(left_by(&arrived, Some(&renamed), None), None);
    }

    #[test]
    fn an_order_knows_what_may_be_at_its_place() {
        let (one, two, three) = (spec("a.hub", "1"), spec("a.hub", "2"), spec("a.hub", "3"));
        let sent = |leaving: AbandonedWork, waiting: Option<Residue>| {
            let mut left = leaving;
            let spec = knowing(spec("a.hub", "now"), &mut left, waiting);
            (spec.sent, left.residue.is_some())
        };
        let leaving = AbandonedWork { current: Some(one.assignment()), residue: Some(two.residue()) };
        let all = vec![one.digest(), two.digest(), three.digest()];
        assert_eq!(sent(leaving, Some(three.residue())), (all, false));
        let elsewhere =
            AbandonedWork { current: Some(at("b.hub", "1")), residue: Some(spec("c.hub", "2").residue()) };
        assert_eq!(sent(elsewhere, None), (vec![], true));
    }

    /// However often the keys change while a hub is down.
    #[test]
    fn the_last_orders_are_remembered_and_no_more() {
        let specs: Vec<DeviceSpec> = (0..40).map(|number| spec("a.hub", &number.to_string())).collect();
        let last: Vec<_> = specs[40 - DeviceSpec::MAX_SENT..].iter().map(DeviceSpec::digest).collect();

        let mut current = at("a.hub", "first");
        for renewed in &specs {
            current = give_up(&step(renewed.clone()), Some(&current)).current.unwrap();
        }
        assert_eq!(current.sent, last);
        let waiting = Residue { specs: specs.iter().map(DeviceSpec::digest).collect(), ..specs[0].residue() };
        assert_eq!(knowing(spec("a.hub", "now"), &mut AbandonedWork::default(), Some(waiting)).sent, last);
    }
}
