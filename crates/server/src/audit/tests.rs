//! Tests of the audit trail over outputs that collect, hang or fail.

use std::{net::IpAddr, sync::LazyLock};

use model::{IdScope, Issuer, Role, Subject, Timestamp};

use super::*;

/// Collects lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Value>>>);

impl AuditOutput for Lines {
    fn write(&mut self, line: &str) -> anyhow::Result<()> {
        assert!(!line.contains('\n'));
        self.0.lock().unwrap().push(serde_json::from_str(line)?);
        Ok(())
    }
}

impl Lines {
    /// Waits for this many lines.
    fn wait_for(&self, count: usize) -> Vec<Value> {
        for _ in 0..500 {
            if self.0.lock().unwrap().len() >= count {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.0.lock().unwrap().clone()
    }
}

fn entry<'a>(scope: &'a IdScope, outcome: AuditOutcome<'a>, second: i64) -> AuditEntry<'a> {
    static ACTOR: LazyLock<Identity> = LazyLock::new(|| {
        let issuer = Issuer::parse("https://login.example").unwrap();
        Identity::Subject(Subject::parse(issuer, "alice").unwrap())
    });
    AuditEntry {
        at: Timestamp::from_unix_seconds(second),
        instance: Some(scope),
        actor: Some(&ACTOR),
        role: Some(Role::DataContributor),
        address: Some(IpAddr::from([192, 0, 2, 7])),
        operation: Some("WebhookKey_Get"),
        method: "POST",
        path: "/webhookKey\u{1b}[2J\n",
        outcome,
    }
}

fn refused(reason: &str) -> AuditOutcome<'_> {
    AuditOutcome::Refused(AuditFailure { code: 401_002, reason, tracking_id: "7" })
}

#[test]
fn entries_are_lines_of_json_with_escaped_texts() {
    let (lines, scope) = (Lines::default(), IdScope::parse("0neA").unwrap());
    let trail = AuditTrail::start(vec![Box::new(lines.clone())], 10).unwrap();
    trail.record(&entry(&scope, AuditOutcome::Done, 60));
    trail.record(&entry(&scope, refused(&"x".repeat(5000)), 61));
    let [done, refused] = lines.wait_for(2).try_into().unwrap();
    assert_eq!(done["time"], "1970-01-01T00:01:00.0000000Z");
    assert_eq!((&done["instance"], &done["actor"]), (&json!("0neA"), &json!("alice")));
    assert_eq!(
        (&done["issuer"], &done["role"]),
        (&json!("https://login.example"), &json!("data contributor"))
    );
    assert_eq!((&done["address"], &done["outcome"]), (&json!("192.0.2.7"), &json!("done")));
    assert_eq!(done["path"], "/webhookKey\\u{1b}[2J\\n");
    assert_eq!((&refused["code"], &refused["trackingId"]), (&json!(401_002), &json!("7")));
    assert_eq!(refused["reason"].as_str().unwrap().len(), MAX_TEXT_BYTES);
}

/// An output that takes lines as soon as it is opened.
struct HangingOutput(Receiver<()>, Lines);

impl AuditOutput for HangingOutput {
    fn write(&mut self, line: &str) -> anyhow::Result<()> {
        let _ = self.0.recv();
        self.1.write(line)
    }
}

/// An output of which every other write fails.
#[derive(Clone, Default)]
struct Flaky(Lines, bool);

impl AuditOutput for Flaky {
    fn write(&mut self, line: &str) -> anyhow::Result<()> {
        self.1 = !self.1;
        anyhow::ensure!(self.1, "not now");
        self.0.write(line)
    }
}

/// Returns the number of lines with an outcome, and the sum of what was omitted.
fn tally(lines: &[Value], outcome: &str) -> (u64, u64) {
    let count = lines.iter().filter(|line| line["outcome"] == outcome).count() as u64;
    (count, lines.iter().filter_map(|line| line["count"].as_u64()).sum())
}

/// Refusals are bounded by the minute, and never displace what operators did.
#[test]
fn a_flood_of_refusals_is_counted() {
    let (lines, scope) = (Lines::default(), IdScope::parse("0neA").unwrap());
    let trail = AuditTrail::start(vec![Box::new(lines.clone())], 3).unwrap();
    for second in 60..90 {
        trail.record(&entry(&scope, refused("no"), second));
    }
    trail.record(&entry(&scope, AuditOutcome::Done, 90));
    trail.record(&entry(&scope, refused("no"), 120));
    trail.close();
    let found = lines.wait_for(6);
    assert_eq!((tally(&found, "refused"), tally(&found, "done").0), ((4, 27), 1), "{found:?}");
}

/// Strangers hide nothing that was refused to an operator, and nothing of another instance.
#[test]
fn callers_have_budgets_of_their_own() {
    let [one, two] = ["0neA", "0neB"].map(|scope| IdScope::parse(scope).unwrap());
    let mut budget = RefusalBudget::new(3);
    fn stranger(scope: &IdScope) -> AuditEntry<'_> {
        AuditEntry { actor: None, ..entry(scope, refused("no"), 60) }
    }
    let admitted: Vec<bool> = (0..5).map(|_| budget.admit(&stranger(&one))).collect();
    assert_eq!(admitted, [true, true, true, false, false]);
    assert!(budget.admit(&stranger(&two)) && budget.admit(&entry(&one, refused("no"), 61)));
    let of_many = (0..100).map(|number| IdScope::parse(format!("0ne{number}")).unwrap());
    let admitted = of_many.filter(|scope| (0..3).any(|_| budget.admit(&stranger(scope)))).count();
    assert!(
        (20..30).contains(&admitted),
        "all strangers together have the budget of ten instances: {admitted}"
    );
    assert!(budget.admit(&entry(&two, refused("no"), 62)));
}

/// An output that hangs delays no other one, and what it has no room for is counted in it alone.
#[test]
fn an_output_that_hangs_stops_no_other() {
    let scope = IdScope::parse("0neA").unwrap();
    let (open, gate) = mpsc::channel();
    let (hanging, lines) = (Lines::default(), Lines::default());
    let trail =
        AuditTrail::start(vec![Box::new(HangingOutput(gate, hanging.clone())), Box::new(lines.clone())], 3);
    let trail = trail.unwrap();
    let recorded = MAX_WAITING + 10;
    for number in 0..recorded {
        trail.record(&entry(&scope, AuditOutcome::Done, 60));
        if number % 1000 == 999 {
            lines.wait_for(number + 1);
        }
    }
    let found = lines.wait_for(recorded);
    assert_eq!(tally(&found, "done"), (recorded as u64, 0));
    assert!(hanging.wait_for(0).is_empty());
    drop(open);
    trail.close();
    let (done, omitted) = tally(&hanging.wait_for(0), "done");
    assert_eq!(done + omitted, recorded as u64);
    assert!(omitted > 0);
}

/// Lines and counts add up to what was recorded, whatever fails, and closing waits for all.
#[test]
fn counts_are_those_of_each_output() {
    let scope = IdScope::parse("0neA").unwrap();
    let (flaky, whole) = (Flaky::default(), Lines::default());
    let outputs: Vec<Box<dyn AuditOutput>> = vec![Box::new(flaky.clone()), Box::new(whole.clone())];
    let trail = AuditTrail::start(outputs, 3).unwrap();
    for _ in 0..51 {
        trail.record(&entry(&scope, AuditOutcome::Done, 60));
    }
    trail.close();
    let (done, omitted) = tally(&flaky.0.wait_for(0), "done");
    assert!(done + omitted >= 50 && done < 51, "the last write may have failed: {done} + {omitted}");
    assert_eq!(tally(&whole.wait_for(0), "done"), (51, 0));
}

/// A shutdown does not wait forever.
#[test]
fn closing_ends_although_an_output_hangs() {
    let scope = IdScope::parse("0neA").unwrap();
    let (_open, gate) = mpsc::channel();
    let trail = AuditTrail::start(vec![Box::new(HangingOutput(gate, Lines::default()))], 3).unwrap();
    trail.record(&entry(&scope, AuditOutcome::Done, 60));
    trail.close_within(Duration::from_millis(50));
}
