//! What runs cost that wait, in a process of its own: its memory is measured.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use model::{
    AllocationPolicy, CustomAllocation, Instance, LinkedHub, ProvisioningStatus, RawJson, WebhookRequest,
};
use net::CancellationToken;
use provisioning::{
    Ports, Provisioning,
    attest::Evidence,
    ports::{
        AllocationWebhook, Change, Clock, Commit, Expect, RunnerId, Store, Unknown, WebhookCall,
        WebhookOutcome,
    },
    register::{DefaultReprovision, RegisterOutcome, RegisterRequest},
};
use runner::Runner;
use store::EmbeddedStore;
use testkit::{clock::SteppedClock, entropy::SeededEntropy, hub::FakeHubs, sample};

/// A webhook that is down, and keeps nothing of what it is asked.
struct Down(Arc<AtomicUsize>);

#[async_trait]
impl AllocationWebhook for Down {
    async fn ask(&self, _: &Instance, _: &WebhookRequest) -> WebhookCall {
        self.0.fetch_add(1, Ordering::Relaxed);
        WebhookOutcome::Retry("status code: 503".to_owned()).into()
    }
}

const SCOPE: &str = "0neA";
const RUNS: usize = 2000;

/// Bytes in memory as the operating system counts them, without pages of files, such as those of the database.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn request(number: usize, payload: &RawJson, clock: &SteppedClock) -> RegisterRequest {
    let id = format!("dev-{number}");
    let resource = format!("{SCOPE}/registrations/{id}");
    let expires = clock.now().plus(Duration::from_secs(3600));
    let token = wire::sas::sign(
        &resource,
        sample::key(10).as_bytes(),
        u64::try_from(expires.unix_seconds()).unwrap(),
        Some("registration"),
    );
    let claim = wire::sas::parse(&token).unwrap();
    RegisterRequest {
        evidence: Evidence { claim: Some(claim), ..Evidence::default() },
        // As each device would send it: not shared.
        payload: Some(RawJson::new(serde_json::from_str(payload.as_str()).unwrap()).unwrap()),
        address: None,
        default_reprovision: DefaultReprovision::Migrate,
        runner: None,
    }
}

async fn enroll(store: &dyn Store, number: usize) {
    let mut enrollment = sample::individual(&format!("dev-{number}"));
    enrollment.settings.provisioning_status = ProvisioningStatus::Enabled;
    enrollment.settings.hubs = Vec::new();
    enrollment.settings.allocation_policy = Some(AllocationPolicy::Custom);
    let webhook =
        CustomAllocation { webhook_url: "https://web.hook/".into(), api_version: "2021-10-01".into() };
    enrollment.settings.custom_allocation = Some(webhook);
    let changes = vec![(Expect::Anything, Change::PutIndividual(Box::new(enrollment)))];
    store.commit(&sample::scope(SCOPE), Commit { changes, ..Commit::by(sample::by()) }).await.unwrap();
}

/// Two thousand devices send 96 KB of small numbers each, for a webhook that is down: as trees, that was 16 GiB; as text that is
/// held, 192 MB. What is measured holds the caches of the database as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_wait_cost_their_names() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let sealer = durable::Sealer::from_key([7; 32]);
    let path = folder.path().join("muster.db");
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&path, sealer).unwrap());
    let mut instance = sample::instance(SCOPE);
    instance.linked_hubs.iter_mut().for_each(|hub: &mut LinkedHub| hub.takes_new_devices = true);
    store.put_instance(instance, sample::by()).await.unwrap();
    let clock = Arc::new(SteppedClock::default());
    let asked = Arc::new(AtomicUsize::new(0));
    let open = || {
        Arc::new(Provisioning::new(Ports {
            store: Arc::clone(&store),
            hubs: Arc::new(FakeHubs::new([sample::hub_name("hub-1.example")])),
            webhook: Arc::new(Down(Arc::clone(&asked))),
            topology: Arc::new(Unknown),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(1)),
        }))
    };
    let provisioning = open();
    let numbers =
        RawJson::new(serde_json::from_str(&format!("[{}1]", "1,".repeat(48_000))).unwrap()).unwrap();
    for number in 0..RUNS {
        enroll(&*store, number).await;
        let id = sample::registration_id(&format!("dev-{number}"));
        let device = provisioning.device(&sample::scope(SCOPE), &id).await.unwrap().unwrap();
        let begun = provisioning.begin(device, &request(number, &numbers, &clock)).await.unwrap();
        assert!(matches!(begun, RegisterOutcome::Running(_)), "{begun:?}");
    }
    drop(provisioning);

    // As after a crash: all of them are found, tried, and wait for the webhook.
    let id = RunnerId::random(&SeededEntropy::new(2));
    let runner = Arc::new(Runner::new(open(), store.clone(), id));
    let before = resident();
    assert_eq!(runner.start().await.unwrap(), RUNS);
    tokio::spawn(async move { runner.keep_leases(CancellationToken::new()).await });
    let patience = Instant::now() + Duration::from_secs(180);
    while asked.load(Ordering::Relaxed) < RUNS {
        assert!(Instant::now() < patience, "{asked:?} asked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < RUNS * 48 * 1024, "{RUNS} runs that wait take {grown} bytes");
}
