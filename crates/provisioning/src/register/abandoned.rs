//! Computes what remains of a run that is abandoned, and what a device leaves at the hub that it moved from.

use model::{Assignment, DeviceSpec, Generation, PendingStep, Registration, Residue, Status};

/// What remains when a run is abandoned. The hub may have applied its device spec already, so a device at a hub that is not
/// the current one must be removed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct AbandonedRun {
    /// The assignment in effect.
    pub(super) current: Option<Assignment>,
    /// The device that the run may have created elsewhere.
    pub(super) residue: Option<Residue>,
}

impl AbandonedRun {
    /// Returns what remains when the run of a registration is abandoned, if it has one.
    pub(super) fn of(previous: Option<&Registration>) -> AbandonedRun {
        match previous.map(|previous| &previous.status) {
            Some(Status::Assigning { step, from, .. }) => AbandonedRun::of_step(step, from.as_ref()),
            _ => {
                AbandonedRun { current: previous.and_then(Registration::assignment).cloned(), residue: None }
            }
        }
    }

    /// Returns what remains when this step is abandoned.
    pub(super) fn of_step(step: &PendingStep, from: Option<&Assignment>) -> AbandonedRun {
        match (step.spec(), from) {
            (None, _) => AbandonedRun { current: from.cloned(), residue: None },
            (Some(spec), Some(at)) if at.hub_device() == spec.hub_device() => {
                AbandonedRun { current: Some(in_doubt(at, spec)), residue: None }
            }
            (Some(spec), _) => AbandonedRun { current: from.cloned(), residue: Some(spec.residue()) },
        }
    }
}

/// Returns what a device leaves at the hub that it moved from; nothing if its device ID changed too, for that is another
/// device. Where the record names no generation, the one that was `found` during the move counts, for it had the device ID
/// that the registration owned.
pub(super) fn residue_of_move(
    spec: &DeviceSpec,
    from: Option<&Assignment>,
    found: Option<&Generation>,
) -> Option<Residue> {
    let residue = from.filter(|at| at.device_id == spec.device_id && at.hub != spec.hub)?.residue();
    let generation = residue.generation.or_else(|| found.cloned());
    Some(Residue { generation, ..residue })
}

/// Returns the spec with all requests that may have reached its hub before: those of the current assignment, of the abandoned
/// run, and of a cleanup that is pending there.
pub(super) fn with_known_requests(
    spec: DeviceSpec,
    abandoned: &mut AbandonedRun,
    pending: Option<Residue>,
) -> DeviceSpec {
    let hub_device = spec.hub_device();
    let is_here = |residue: &Residue| residue.hub_device == hub_device;
    let current = abandoned.current.as_ref().map(Assignment::residue).filter(is_here);
    let abandoned = abandoned.residue.take_if(|residue| is_here(residue));
    let known = [current, abandoned, pending];
    spec.with_sent(known.into_iter().flatten().flat_map(|residue| residue.specs))
}

/// Returns the assignment when it is unknown whether the hub applied this spec. It may have had to create the device anew.
fn in_doubt(at: &Assignment, spec: &DeviceSpec) -> Assignment {
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
    fn abandoned_work_leaves_a_residue_at_a_hub_that_is_not_the_current_one() {
        let elsewhere = spec("b.hub", "leaf");
        for from in [None, Some(at("a.hub", "leaf"))] {
            let left = AbandonedRun::of_step(&step(elsewhere.clone()), from.as_ref());
            assert_eq!(left, AbandonedRun { current: from, residue: Some(elsewhere.residue()) });
        }
        let renewed = spec("a.hub", "new");
        let left = AbandonedRun::of_step(&step(renewed.clone()), Some(&at("a.hub", "old")));
        let current = left.current.unwrap();
        assert_eq!((left.residue, &current.spec), (None, &at("a.hub", "old").spec));
        assert_eq!(current.sent, [renewed.digest()], "either may be in effect");
        let named = Assignment { generation: model::Generation::parse("1").ok(), ..at("a.hub", "old") };
        let doubted = AbandonedRun::of_step(&step(renewed.clone()), Some(&named)).current;
        assert_eq!(doubted.unwrap().generation, None, "it may have been created anew");
        let again = AbandonedRun::of_step(&step(renewed.clone()), Some(&current)).current;
        assert_eq!(again, Some(current), "once is enough");
    }

    #[test]
    fn a_move_leaves_only_the_same_device_id_at_another_hub() {
        let arrived = spec("b.hub", "leaf");
        assert_eq!(residue_of_move(&arrived, None, None), None);
        assert_eq!(residue_of_move(&arrived, Some(&at("b.hub", "old")), None), None);
        let (old, found) = (at("a.hub", "old"), model::Generation::parse("2").unwrap());
        assert_eq!(
            residue_of_move(&arrived, Some(&old), None),
            Some(old.residue()),
            "no generation is known"
        );
        let left = residue_of_move(&arrived, Some(&old), Some(&found)).and_then(|residue| residue.generation);
        assert_eq!(left.as_ref(), Some(&found), "the one that was found");
        let known = model::Generation::parse("1").ok();
        let recorded = Assignment { generation: known.clone(), ..old };
        let left =
            residue_of_move(&arrived, Some(&recorded), Some(&found)).and_then(|residue| residue.generation);
        assert_eq!(left, known, "the one of the record counts first");
        let renamed =
            Assignment { device_id: model::DeviceId::parse("other").unwrap(), ..at("a.hub", "leaf") };
        assert_eq!(residue_of_move(&arrived, Some(&renamed), None), None);
    }

    #[test]
    fn a_spec_remembers_what_may_have_reached_its_hub() {
        let (one, two, three) = (spec("a.hub", "1"), spec("a.hub", "2"), spec("a.hub", "3"));
        let sent = |mut abandoned: AbandonedRun, pending: Option<Residue>| {
            let spec = with_known_requests(spec("a.hub", "now"), &mut abandoned, pending);
            (spec.sent, abandoned.residue.is_some())
        };
        let here = AbandonedRun { current: Some(one.assignment()), residue: Some(two.residue()) };
        let all = vec![one.digest(), two.digest(), three.digest()];
        assert_eq!(sent(here, Some(three.residue())), (all, false));
        let elsewhere =
            AbandonedRun { current: Some(at("b.hub", "1")), residue: Some(spec("c.hub", "2").residue()) };
        assert_eq!(sent(elsewhere, None), (vec![], true));
    }

    /// Keys may change any number of times while a hub is down.
    #[test]
    fn only_the_last_specs_are_remembered() {
        let specs: Vec<DeviceSpec> = (0..40).map(|number| spec("a.hub", &number.to_string())).collect();
        let last: Vec<_> = specs[40 - DeviceSpec::MAX_SENT..].iter().map(DeviceSpec::digest).collect();

        let mut current = at("a.hub", "first");
        for renewed in &specs {
            current = AbandonedRun::of_step(&step(renewed.clone()), Some(&current)).current.unwrap();
        }
        assert_eq!(current.sent, last);
        let waiting = Residue { specs: specs.iter().map(DeviceSpec::digest).collect(), ..specs[0].residue() };
        assert_eq!(
            with_known_requests(spec("a.hub", "now"), &mut AbandonedRun::default(), Some(waiting)).sent,
            last
        );
    }
}
