//! Describes registrations and decisions in sentences for operators.

use model::{
    AllocationPolicy, Because, Candidate, Chosen, Decision, DecisionOutcome, EnrollmentRef, Exclusion,
    FailedTry, KeyStanding, LatencySource, PendingStep, PolicyOf, Registration, ReprovisionAction, Returning,
    Status, Substatus, Tries,
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
            let is_new = registration.decisions.latest().is_some_and(|last| last.returning.is_none());
            format!("{id} is assigned to {} as {}: {}.", at.hub, at.device_id, how(at.substatus, is_new))
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
    let Some(FailedTry { reason, next }) = tries.last() else { return what };
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
    let eligible = candidates.iter().filter(|candidate| candidate.excluded.is_none());
    let named: Vec<String> = eligible.map(described).collect();
    if named.is_empty() { String::new() } else { format!(" among {}", named.join(", ")) }
}

fn described(candidate: &Candidate) -> String {
    let weight = candidate.weight.map(|weight| format!("weight {}", weight.number()));
    let latency = candidate.latency.map(|latency| latency.to_string());
    let facts: Vec<String> = [weight, latency].into_iter().flatten().collect();
    if facts.is_empty() {
        candidate.hub.to_string()
    } else {
        format!("{} ({})", candidate.hub, facts.join(", "))
    }
}

fn left_out(candidates: &[Candidate]) -> Option<String> {
    let why = |exclusion| match exclusion {
        Exclusion::NotLinked => "not linked",
        Exclusion::Closed => "takes no new devices",
        Exclusion::Down => "down",
        Exclusion::Full => "full",
    };
    let excluded = candidates.iter().filter_map(|it| Some(format!("{} ({})", it.hub, why(it.excluded?))));
    let excluded: Vec<String> = excluded.collect();
    (!excluded.is_empty()).then(|| format!("Left out: {}.", excluded.join(", ")))
}

fn outcome(decision: &Decision) -> String {
    let at = decision.ended.map(|ended| format!("At {ended} ")).unwrap_or_default();
    match &decision.outcome {
        DecisionOutcome::Pending => "It is under way.".to_owned(),
        DecisionOutcome::Assigned => {
            let substatus = decision.returning.as_ref().and_then(|returning| returning.substatus);
            let substatus = substatus.unwrap_or(Substatus::InitialAssignment);
            let how = how(substatus, decision.returning.is_none());
            let took_over = match decision.took_over {
                true => {
                    " It took over a device that existed at the hub, and that the registration did not create."
                }
                false => "",
            };
            format!("{at}it was assigned: {how}.{took_over}")
        }
        DecisionOutcome::Failed(failure) => {
            format!("{at}it failed: {}: {}", failure.reason, sentence(&failure.message))
        }
        DecisionOutcome::Canceled => format!("{at}an operator canceled it."),
    }
}

/// Returns how a device got to its hub. A new device had none before.
fn how(substatus: Substatus, is_new: bool) -> &'static str {
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
    use model::{Decisions, HubName, KeySlot, Timestamp};
    use testkit::sample;

    use super::*;

    fn decided(chosen: Option<Because>, outcome: DecisionOutcome) -> Decision {
        let hub = |name: &str| HubName::parse(name).unwrap();
        let candidate = |name: &str, excluded| Candidate {
            hub: hub(name),
            weight: Some(Default::default()),
            latency: None,
            excluded,
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
            took_over: false,
            ended: (outcome != DecisionOutcome::Pending).then(|| Timestamp::from_unix_seconds(1_800_000_007)),
            outcome,
        }
    }

    fn check(decision: Decision, expected: &str) {
        assert_eq!(super::decision(&decision), expected);
    }

    #[test]
    fn a_decision_is_described_in_sentences() {
        check(
            decided(Some(Because::Hash), DecisionOutcome::Assigned),
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
            ..decided(Some(Because::Hash), DecisionOutcome::Assigned)
        };
        let text = super::decision(&moved);
        assert!(text.contains("returned from c.hub"), "{text}");
        assert!(text.ends_with("it was assigned: it moved there with its data."), "{text}");
        let taken = Decision { moved_from: Some(sample::group_id("line-1")), ..moved };
        let text = super::decision(&taken);
        assert!(text.contains("which took it over from the enrollment group line-1"), "{text}");
        let adopted = decided(Some(Because::Hash), DecisionOutcome::Assigned);
        let text = super::decision(&Decision { took_over: true, ..adopted });
        assert!(text.ends_with(
            "It took over a device that existed at the hub, and that the registration did not create."
        ));
        let text = super::decision(&decided(None, DecisionOutcome::Canceled));
        assert!(text.contains("no hub was chosen") && text.ends_with("an operator canceled it."), "{text}");
    }

    #[test]
    fn every_status_is_described_in_a_sentence() {
        for (name, status) in sample::statuses("Dev-1") {
            let mut decisions = Decisions::default();
            decisions.push(decided(Some(Because::Stays), DecisionOutcome::Pending));
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
