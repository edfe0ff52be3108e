//! Describes registrations and decisions in sentences for operators.

use model::{
    AllocationPolicy, Because, Candidate, Chosen, Decision, DecisionEnd, DecisionOutcome, DecisionResult,
    EnrollmentRef, Exclusion, FailedTry, KeyStanding, LatencySource, PendingStep, PolicyOf, Registration,
    ReprovisionAction, Returning, Status, Substatus, Tries,
};

/// Returns sentences about the status of a registration, the key that its device used if that is known, and the decisions that
/// led there, the last one first.
pub fn describe(registration: &Registration, key: Option<KeyStanding>) -> Vec<String> {
    let mut sentences = vec![status(registration)];
    sentences.extend(key.map(key_used));
    sentences.extend(registration.decisions.iter().rev().map(decision));
    sentences
}

fn status(registration: &Registration) -> String {
    let id = &registration.registration_id;
    let assignment =
        registration.assignment().map(|at| format!(" It is assigned to {} as {}.", at.hub, at.device_id));
    let assignment = assignment.unwrap_or_else(|| " It has no hub.".to_owned());
    match &registration.status {
        Status::Assigned(at) => {
            let how = how(at.substatus, registration.decisions.latest());
            format!("{id} is assigned to {} as {}: {how}.", at.hub, at.device_id)
        }
        Status::Assigning { step, tries, .. } => {
            format!("{id} is being assigned: {}.{assignment}", pending(step, tries))
        }
        Status::Failed { failure, .. } => {
            format!("{id} failed: {}: {}{assignment}", failure.reason, sentence(&failure.message))
        }
        Status::Disabled { .. } => format!("{id} is refused: its enrollment is disabled.{assignment}"),
    }
}

fn key_used(key: KeyStanding) -> String {
    match key {
        KeyStanding::Current(slot) => format!("It last proved itself by the {slot} key of its enrollment."),
        KeyStanding::Replaced(slot) => format!(
            "It last proved itself by a key that its enrollment does not have any more, then the {slot} one. Its hub \
             takes the old keys until it registers again."
        ),
    }
}

/// Adds a full stop, unless the message has one.
fn sentence(message: &str) -> String {
    format!("{}.", message.trim_end_matches('.'))
}

/// Returns what a run has to do next, and why that is not done yet.
pub fn pending(step: &PendingStep, tries: &Tries) -> String {
    let what = match step {
        PendingStep::Allocate(_) => "its webhook is to be called".to_owned(),
        PendingStep::Ensure(spec) => format!("{} is to be called", spec.hub),
    };
    let Some(FailedTry { reason, next, .. }) = tries.last() else { return what };
    let failed = match tries.count() {
        1 => "one try so far, which".to_owned(),
        count => format!("{count} tries so far, the last"),
    };
    format!("{what}; {failed} failed with \"{reason}\"; the next try is due at {next}")
}

fn decision(decision: &Decision) -> String {
    let parts = [
        Some(format!("{}: {}.", decision.at, arrival(decision))),
        Some(choice(decision)),
        left_out(&decision.candidates),
        Some(outcome(decision)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn arrival(decision: &Decision) -> String {
    let through = match &decision.enrollment {
        EnrollmentRef::Individual => "its individual enrollment".to_owned(),
        EnrollmentRef::Group(group) => format!("the enrollment group {group}"),
    };
    let through = match &decision.moved_from {
        None => through,
        Some(group) => format!("{through}, which took it over from the enrollment group {group}"),
    };
    match &decision.returning {
        None => format!("it came through {through} and had no hub"),
        Some(Returning { from, reprovision, .. }) => {
            let policy = match reprovision {
                ReprovisionAction::Stay => "which lets it stay",
                ReprovisionAction::Migrate => "which moves it with its data when another hub is chosen",
                ReprovisionAction::Reset => "which has it start anew",
            };
            format!("it returned from {from} through {through}, {policy}")
        }
    }
}

fn choice(decision: &Decision) -> String {
    let policy = match decision.policy {
        AllocationPolicy::Hashed => "evenly weighted distribution",
        AllocationPolicy::GeoLatency => "lowest latency",
        AllocationPolicy::Static => "static",
        AllocationPolicy::Custom => "custom",
    };
    let owner = match decision.policy_of {
        PolicyOf::Enrollment => "the enrollment's",
        PolicyOf::Service => "the service's",
    };
    let from = match &decision.latencies_from {
        None => String::new(),
        Some(LatencySource::Table(range)) => format!(", with latencies of the table for {range}"),
        Some(LatencySource::Region(region)) => {
            format!(", with latencies of the table for the region {region}")
        }
        Some(LatencySource::Probes) => ", with latencies measured by the node".to_owned(),
    };
    let policy = format!("the allocation policy {policy} ({owner}{from})");
    let among = among(&decision.candidates);
    match &decision.chosen {
        Some(Chosen { hub, because: Because::Hash }) => {
            format!("By the hash of its name, {policy} chose {hub}{among}.")
        }
        Some(Chosen { hub, because: Because::Nearest }) => {
            format!("As the nearest hub, {policy} chose {hub}{among}.")
        }
        Some(Chosen { hub, because: Because::NearEnough }) => {
            format!("By {policy} it keeps {hub}: no other is nearer by enough{among}.")
        }
        Some(Chosen { hub, because: Because::Named }) => {
            format!("By {policy} it goes to {hub}, which is named.")
        }
        Some(Chosen { hub, because: Because::OnlyHub }) => {
            format!("By {policy} it goes to {hub}, the only hub that is linked.")
        }
        Some(Chosen { hub, because: Because::Webhook }) => {
            format!("By {policy} its webhook chose {hub}{among}.")
        }
        Some(Chosen { hub, because: Because::Stays }) if decision.candidates.is_empty() => {
            format!("It stays at {hub} without a choice.")
        }
        Some(Chosen { hub, because: Because::Stays }) => {
            format!("By {policy} no hub could be chosen, so it stays at {hub}.")
        }
        None if decision.outcome == DecisionOutcome::Pending => {
            format!("By {policy} a webhook chooses{among}.")
        }
        None => format!("By {policy} no hub was chosen."),
    }
}

fn among(candidates: &[Candidate]) -> String {
    let eligible = |candidate: &Candidate| {
        let link = candidate.link.as_ref().filter(|link| link.excluded.is_none())?;
        let latency = link.latency.map(|latency| format!(", {latency}")).unwrap_or_default();
        Some(format!("{} (weight {}{latency})", candidate.hub, link.weight.number()))
    };
    let named: Vec<String> = candidates.iter().filter_map(eligible).collect();
    if named.is_empty() { String::new() } else { format!(" among {}", named.join(", ")) }
}

fn left_out(candidates: &[Candidate]) -> Option<String> {
    let why = |candidate: &Candidate| match candidate.link.as_ref().map(|link| link.excluded) {
        None => Some("not linked"),
        Some(None) => None,
        Some(Some(Exclusion::Closed)) => Some("takes no new devices"),
        Some(Some(Exclusion::Down)) => Some("down"),
        Some(Some(Exclusion::Full)) => Some("full"),
    };
    let excluded = candidates.iter().filter_map(|it| Some(format!("{} ({})", it.hub, why(it)?)));
    let excluded: Vec<String> = excluded.collect();
    (!excluded.is_empty()).then(|| format!("Left out: {}.", excluded.join(", ")))
}

fn outcome(decision: &Decision) -> String {
    let Some(DecisionEnd { at, result, took_over }) = decision.outcome.end() else {
        return "It is under way.".to_owned();
    };
    match result {
        DecisionResult::Assigned => {
            let substatus = decision.returning.as_ref().and_then(|returning| returning.substatus);
            let substatus = substatus.unwrap_or(Substatus::InitialAssignment);
            let how = how(substatus, Some(decision));
            let took_over = match took_over {
                true => {
                    " It took over a device that existed at the hub, and that the registration did not create."
                }
                false => "",
            };
            format!("At {at} it was assigned: {how}.{took_over}")
        }
        DecisionResult::Failed(failure) => {
            format!("At {at} it failed: {}: {}", failure.reason, sentence(&failure.message))
        }
        DecisionResult::Canceled => format!("At {at} an operator canceled it."),
    }
}

/// Returns how a device got to its hub by this decision, if that is known.
fn how(substatus: Substatus, decision: Option<&Decision>) -> &'static str {
    let is_new = decision.is_some_and(|decision| decision.returning.is_none());
    match substatus {
        Substatus::InitialAssignment if is_new => "its first assignment",
        Substatus::InitialAssignment => "its first assignment there, or it stayed as it was",
        Substatus::DeviceDataMigrated => "it moved there with its data",
        Substatus::DeviceDataReset => "it started anew with its initial twin",
        Substatus::ReprovisionedToInitialAssignment => "it returned to its hub and keeps its data",
    }
}

#[cfg(test)]
mod tests {
    use model::{CandidateLink, Decisions, HubName, KeySlot, Timestamp};
    use testkit::sample;

    use super::*;

    fn decided(chosen: Option<Because>, result: Option<DecisionResult>) -> Decision {
        let hub = |name: &str| HubName::parse(name).unwrap();
        let candidate = |name: &str, excluded| Candidate {
            hub: hub(name),
            link: Some(CandidateLink { weight: Default::default(), latency: None, excluded }),
        };
        let end = |result| {
            let at = Timestamp::from_unix_seconds(1_800_000_007);
            DecisionOutcome::Ended(DecisionEnd { at, result, took_over: false })
        };
        Decision {
            at: Timestamp::from_unix_seconds(1_800_000_000),
            enrollment: EnrollmentRef::Individual,
            moved_from: None,
            policy: AllocationPolicy::Hashed,
            policy_of: PolicyOf::Service,
            candidates: vec![candidate("a.hub", None), candidate("b.hub", Some(Exclusion::Closed))],
            latencies_from: None,
            chosen: chosen.map(|because| Chosen { hub: hub("a.hub"), because }),
            returning: None,
            webhook: None,
            outcome: result.map(end).unwrap_or_default(),
        }
    }

    fn check(decision: Decision, expected: &str) {
        assert_eq!(super::decision(&decision), expected);
    }

    #[test]
    fn a_decision_is_described_in_sentences() {
        check(
            decided(Some(Because::Hash), Some(DecisionResult::Assigned)),
            "2027-01-15T08:00:00.0000000Z: it came through its individual enrollment and had no hub. By the hash \
             of its name, the allocation policy evenly weighted distribution (the service's) chose a.hub among a.hub \
             (weight 1). Left out: b.hub (takes no new devices). At 2027-01-15T08:00:07.0000000Z it was assigned: its \
             first assignment.",
        );
        let from = HubName::parse("c.hub").unwrap();
        let returning = Returning {
            from,
            reprovision: ReprovisionAction::Migrate,
            substatus: Some(Substatus::DeviceDataMigrated),
        };
        let moved = Decision {
            returning: Some(returning),
            ..decided(Some(Because::Hash), Some(DecisionResult::Assigned))
        };
        let text = super::decision(&moved);
        assert!(text.contains("returned from c.hub"), "{text}");
        assert!(text.ends_with("it was assigned: it moved there with its data."), "{text}");
        let taken = Decision { moved_from: Some(sample::group_id("line-1")), ..moved };
        let text = super::decision(&taken);
        assert!(text.contains("which took it over from the enrollment group line-1"), "{text}");
        let mut adopted = decided(Some(Because::Hash), Some(DecisionResult::Assigned));
        if let DecisionOutcome::Ended(end) = &mut adopted.outcome {
            end.took_over = true;
        }
        let text = super::decision(&adopted);
        assert!(text.ends_with(
            "It took over a device that existed at the hub, and that the registration did not create."
        ));
        let text = super::decision(&decided(None, Some(DecisionResult::Canceled)));
        assert!(text.contains("no hub was chosen") && text.ends_with("an operator canceled it."), "{text}");
    }

    #[test]
    fn every_status_is_described_in_a_sentence() {
        for (name, status) in sample::statuses("Dev-1") {
            let mut decisions = Decisions::default();
            decisions.push(decided(Some(Because::Stays), None));
            let registration = Registration { status, decisions, ..sample::registration("Dev-1") };
            let sentences = describe(&registration, None);
            assert_eq!(sentences.len(), 2, "{name}");
            assert!(
                sentences[0].starts_with("Dev-1 ") && sentences[0].ends_with('.'),
                "{name}: {}",
                sentences[0]
            );
            let sentences = describe(&registration, Some(KeyStanding::Current(KeySlot::Secondary)));
            assert_eq!(sentences[1], "It last proved itself by the secondary key of its enrollment.");
        }
    }
}
