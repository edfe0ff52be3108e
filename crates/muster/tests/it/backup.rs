//! `muster backup` and `muster restore`.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use ::fleet::{BulkMode, LogFilter, ServiceClient, Transport};
use durable::rusqlite::Connection;
use serde_json::Value;
use testkit::postgres::Postgres;
use tokio::{
    process::{Child, Command},
    task::JoinSet,
};

use crate::{
    linked_hub::{LinkingServer, until},
    program::{ProgramOutput, muster, muster_with},
    serve::{KEY, ServeFixture, device, enrollment},
    storage::stop,
};

pub const PASSPHRASE: (&str, &str) = ("MUSTER_PASSPHRASE", "correct horse battery");
const SCOPE: &str = "0neAAAAAAAA";

/// A service with an embedded hub, and devices that may register.
pub struct Plant {
    pub fixture: ServeFixture,
}

/// A registration that the service acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Acknowledged {
    id: String,
    hub: String,
    created: Value,
}

impl Plant {
    async fn start() -> (Plant, Child) {
        let plant = Plant { fixture: ServeFixture::new() };
        let service = plant.fixture.start().await;
        (plant, service)
    }

    /// Creates enrollments `dev-FIRST` to `dev-LAST`.
    async fn enroll(&self, numbers: std::ops::Range<usize>) {
        let enrollments: Vec<_> = numbers.map(|number| enrollment(&format!("dev-{number}"))).collect();
        for some in enrollments.chunks(ServiceClient::BULK_LIMIT) {
            self.fixture.service("127.0.0.1").bulk(BulkMode::Create, some).await.unwrap();
        }
    }

    async fn register(&self, id: &str) -> Option<Acknowledged> {
        register(&self.fixture.endpoint(SCOPE), id).await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.fixture.folder().join(name)
    }

    pub async fn backup(&self, name: &str) -> ProgramOutput {
        let (config, to) = (self.fixture.config(), self.path(name));
        let arguments = ["backup", to.to_str().unwrap(), "--config", config.to_str().unwrap()];
        muster_with(&[PASSPHRASE], arguments).await
    }

    pub async fn restore(&self, name: &str, folder: &str) -> ProgramOutput {
        self.restore_with(PASSPHRASE.1, &[self.path(name).to_str().unwrap(), "--data", &self.text(folder)])
            .await
    }

    async fn restore_with(&self, passphrase: &str, arguments: &[&str]) -> ProgramOutput {
        muster_with(&[(PASSPHRASE.0, passphrase)], [&["restore"], arguments].concat()).await
    }

    /// Checks what a start would do.
    pub async fn check(&self) -> ProgramOutput {
        let config = self.fixture.config();
        muster_with(&[("SITE_KEY", KEY)], ["serve", "--check", "--config", config.to_str().unwrap()]).await
    }

    /// Runs a command that calls the service.
    async fn operate(&self, command: &[&str], variables: &[(&str, &str)]) -> ProgramOutput {
        fs::write(self.path("ca.pem"), &self.fixture.ca_pem).unwrap();
        let port = self.fixture.endpoint(SCOPE).https_port;
        let connection =
            format!("HostName=127.0.0.1:{port};SharedAccessKeyName=owner;SharedAccessKey={}", KEY);
        let service = ["--connection-string", &connection, "--ca", &self.text("ca.pem")];
        muster_with(variables, [command, &service].concat()).await
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Makes another folder the data folder of the configuration.
    pub fn move_to(&self, from: &str, to: &str) {
        self.fixture.amend(&format!("{from}\"\n[listen]"), &format!("{to}\"\n[listen]"));
    }

    /// Returns the devices that the hub has in a data folder.
    fn devices_at_hub(&self, folder: &str) -> BTreeSet<String> {
        let hub = Connection::open(self.path(folder).join("hubs/hub.db")).unwrap();
        let mut devices = hub.prepare("SELECT id FROM device").unwrap();
        devices.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

async fn register(endpoint: &::fleet::Endpoint, id: &str) -> Option<Acknowledged> {
    let reply = ::fleet::register(endpoint, &device(id), Transport::Https, None).await.ok()?;
    let (hub, created) = (reply.hub.to_string(), reply.state["createdDateTimeUtc"].clone());
    Some(Acknowledged { id: id.to_owned(), hub, created })
}

/// Registers devices one after the other, several at a time, until it is dropped.
struct Registering {
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    _tasks: JoinSet<()>,
}

impl Registering {
    fn start(plant: &Plant, count: usize) -> Registering {
        let acknowledged = Arc::<Mutex<Vec<_>>>::default();
        let mut tasks = JoinSet::new();
        for lane in 0..4 {
            let (endpoint, acknowledged) = (plant.fixture.endpoint(SCOPE), Arc::clone(&acknowledged));
            tasks.spawn(async move {
                for number in (lane..count).step_by(4) {
                    let registered = register(&endpoint, &format!("dev-{number}")).await.unwrap();
                    acknowledged.lock().unwrap().push(registered);
                }
            });
        }
        Registering { acknowledged, _tasks: tasks }
    }

    fn acknowledged(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().unwrap().clone()
    }
}

/// The story of a backup: devices register without pause, the machine is lost, and the service goes on in another folder.
#[tokio::test]
async fn what_was_acknowledged_before_a_backup_is_there_after_the_restore() {
    let (plant, mut service) = Plant::start().await;
    plant.enroll(0..2000).await;
    let registering = Registering::start(&plant, 2000);
    until("devices have registered", async || registering.acknowledged().len() >= 40).await;

    let before = registering.acknowledged();
    let ended = plant.backup("backup").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let during = registering.acknowledged().len() - before.len();
    assert!(during > 0, "devices register while the backup is taken");
    for expected in
        ["with the master key", "2000 individuals", "embedded hub hub: ", "the change log ends at "]
    {
        assert!(ended.stdout.contains(expected), "{expected}: {ended:?}");
    }
    assert!(!plant.path("backup.partial").exists());
    let again = plant.backup("backup").await;
    assert!(again.code == 1 && again.stderr.contains("is not overwritten"), "{again:?}");
    let checked = muster_with(&[PASSPHRASE], ["backup", "check", &plant.text("backup")]).await;
    assert!(checked.code == 0 && checked.stdout.contains("is whole"), "{checked:?}");

    // The service that still runs shows what a restore would lose.
    until("more devices have registered", async || registering.acknowledged().len() > before.len() + during)
        .await;
    let position =
        ended.stdout.split("ends at ").nth(1).unwrap().split([',', '\n']).next().unwrap().to_owned();
    let filter = LogFilter { after: Some(position.clone()), ..Default::default() };
    let lost = plant.fixture.service("127.0.0.1").change_log(&filter, 500).await.unwrap().entries;
    assert!(lost.iter().any(|entry| entry["operation"] == "registration.assign"), "{lost:?}");

    service.kill().await.unwrap();
    drop(registering);
    let restored = plant.restore("backup", "restored").await;
    assert!(restored.code == 0 && restored.stdout.contains(&position), "{restored:?}");
    let left: Vec<_> =
        fs::read_dir(plant.path("restored")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "store, hubs and key: {left:?}");
    for (path, expected) in
        [("hubs", 0o700), ("hubs/hub.db", 0o600), ("muster.db", 0o600), ("master.key", 0o600)]
    {
        let metadata = fs::metadata(plant.path("restored").join(path)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{path}");
    }
    let devices = plant.devices_at_hub("restored");
    let missing: Vec<_> = before.iter().filter(|it| !devices.contains(&it.id)).collect();
    assert!(missing.is_empty(), "not at the hub: {missing:?}");

    plant.move_to("data", "restored");
    let checked = plant.check().await;
    assert!(checked.code == 0 && checked.stderr.contains("cleanups wait for"), "{checked:?}");
    let service = plant.fixture.start().await;
    let mut operator = plant.fixture.service("127.0.0.1");
    for known in &before {
        let registration = operator.registration(&known.id).await.unwrap().unwrap();
        assert_eq!(registration["assignedHub"], known.hub.as_str(), "{registration}");
        assert_eq!(registration["createdDateTimeUtc"], known.created, "{registration}");
    }
    for known in before.iter().step_by(before.len() / 20) {
        assert_eq!(plant.register(&known.id).await.as_ref(), Some(known));
    }
    let filter = LogFilter { after: Some(position), ..Default::default() };
    assert!(operator.change_log(&filter, 1).await.is_err(), "readers get an error because changes are lost");
    stop(service).await;
}

/// Each file is refused for its reason, and the folder is not created.
#[tokio::test]
async fn a_file_that_is_not_the_whole_backup_is_refused_and_changes_nothing() {
    let (plant, service) = Plant::start().await;
    plant.enroll(0..200).await;
    plant.register("dev-1").await.unwrap();
    assert_eq!(plant.backup("backup").await.code, 0);
    stop(service).await;
    let whole = fs::read(plant.path("backup")).unwrap();
    assert!(whole.len() > 200_000, "it has several chunks: {}", whole.len());
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let other = "other passphrase";
    for (bytes, passphrase, expected) in [
        (changed(0), PASSPHRASE.1, "this is not a sealed file"),
        (changed(50), PASSPHRASE.1, "the passphrase is wrong, or the file was changed"),
        (changed(whole.len() / 2), PASSPHRASE.1, "was changed or cut off after"),
        (changed(whole.len() - 1), PASSPHRASE.1, "was changed or cut off after"),
        (whole[..whole.len() / 2].to_vec(), PASSPHRASE.1, "was changed or cut off after"),
        (whole[..20].to_vec(), PASSPHRASE.1, "this is not a sealed file"),
        (b"SQLite format 3\0 and more than a header".to_vec(), PASSPHRASE.1, "this is not a sealed file"),
        (whole.clone(), other, "the passphrase is wrong"),
    ] {
        fs::write(plant.path("broken"), bytes).unwrap();
        let broken = plant.text("broken");
        let restored = plant.restore_with(passphrase, &[&broken, "--data", &plant.text("restored")]).await;
        let checked = muster_with(&[(PASSPHRASE.0, passphrase)], ["backup", "check", &broken]).await;
        for ended in [restored, checked] {
            assert!(ended.code == 1 && ended.stderr.contains(expected), "{expected}: {ended:?}");
        }
        assert!(!plant.path("restored").exists(), "{expected}");
    }
    let short =
        plant.restore_with("short", &[&plant.text("backup"), "--data", &plant.text("restored")]).await;
    assert!(short.stderr.contains("at least 12 characters"), "{short:?}");
    // A used folder, and the key of another service.
    let used = plant.restore("backup", "data").await;
    assert!(used.code == 1 && used.stderr.contains("nothing in it is overwritten"), "{used:?}");
    fs::write(plant.path("other.key"), format!("{}\n", KEY)).unwrap();
    let (backup, folder, key) = (plant.text("backup"), plant.text("restored"), plant.text("other.key"));
    let refused =
        plant.restore_with(PASSPHRASE.1, &[&backup, "--data", &folder, "--master-key-file", &key]).await;
    assert!(
        refused.code == 1 && refused.stderr.contains("is not the master key of the backup"),
        "{refused:?}"
    );
    assert!(!plant.path("restored").exists());
    assert_eq!(fs::read_to_string(plant.path("other.key")).unwrap().trim(), KEY);
    // A key that cannot be installed is no success.
    symlink("missing", plant.path("dangling.key")).unwrap();
    let key = plant.text("dangling.key");
    let refused =
        plant.restore_with(PASSPHRASE.1, &[&backup, "--data", &folder, "--master-key-file", &key]).await;
    assert!(refused.code == 1 && refused.stderr.contains("dangling.key"), "{refused:?}");
    assert!(!plant.path("restored").exists());
    // Names that no backup can have fail before its work.
    fs::write(plant.path("data/hubs/hub1.old.db"), "aside").unwrap();
    for (name, expected) in [("next", "hub1.old.db: move it away"), ("next/", "names a folder")] {
        let refused = plant.backup(name).await;
        assert!(refused.code == 1 && refused.stderr.contains(expected), "{refused:?}");
        assert!(!plant.path("next").exists() && !plant.path("next.partial").exists());
    }
}

#[tokio::test]
async fn a_sealed_export_is_not_a_backup() {
    let (plant, service) = Plant::start().await;
    plant.enroll(0..3).await;
    assert_eq!(plant.operate(&["enrollment", "export", &plant.text("export")], &[PASSPHRASE]).await.code, 0);
    stop(service).await;
    let refused = plant.restore("export", "restored").await;
    assert!(refused.code == 1 && refused.stderr.contains("is not a backup"), "{refused:?}");
}

/// The key is kept elsewhere: then the backup opens only with its file.
#[tokio::test]
async fn a_backup_without_the_key_needs_its_file() {
    let (plant, service) = Plant::start().await;
    plant.enroll(0..3).await;
    let registered = plant.register("dev-1").await.unwrap();
    let (config, backup, folder) = (plant.fixture.config(), plant.text("backup"), plant.text("restored"));
    let command = ["backup", &backup, "--without-key", "--config", config.to_str().unwrap()];
    let ended = muster_with(&[PASSPHRASE], command).await;
    assert!(ended.code == 0 && ended.stdout.contains("without the master key"), "{ended:?}");
    stop(service).await;
    let refused = plant.restore("backup", "restored").await;
    assert!(refused.code == 1 && refused.stderr.contains("does not have the master key"), "{refused:?}");
    assert!(!plant.path("restored").exists());
    fs::write(plant.path("wrong.key"), format!("{}\n", KEY)).unwrap();
    let wrong = plant.text("wrong.key");
    let refused =
        plant.restore_with(PASSPHRASE.1, &[&backup, "--data", &folder, "--master-key-file", &wrong]).await;
    assert!(refused.code == 1 && refused.stderr.contains("not the one"), "{refused:?}");
    assert!(!plant.path("restored").exists());

    let key = plant.text("data/master.key");
    let changed = || fs::metadata(plant.path("data")).unwrap().modified().unwrap();
    let before = changed();
    let ended =
        plant.restore_with(PASSPHRASE.1, &[&backup, "--data", &folder, "--master-key-file", &key]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(changed(), before, "the folder of a key that is there may be read-only");
    assert!(!plant.path("restored/master.key").exists());
    plant.move_to("data", "restored");
    plant.fixture.amend("[listen]", &format!("master_key_file = {key:?}\n[listen]"));
    let service = plant.fixture.start().await;
    assert_eq!(plant.register("dev-1").await, Some(registered));
    stop(service).await;
}

/// Starts a command, and sends it a signal this long after it began to write into a folder. Returns its exit code.
async fn end_within(arguments: &[&str], folder: &Path, time: Duration, signal: &str) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(arguments).env(PASSPHRASE.0, PASSPHRASE.1).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.kill_on_drop(true).spawn().unwrap();
    let writes = async {
        while !folder.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(time).await;
    };
    tokio::select! {
        ended = process.wait() => ended.unwrap().code(),
        () = writes => {
            let pid = process.id().unwrap().to_string();
            assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
            process.wait().await.unwrap().code()
        }
    }
}

/// The same with SIGKILL. Returns whether the command had succeeded before.
async fn kill_within(arguments: &[&str], folder: &Path, time: Duration) -> bool {
    let code = end_within(arguments, folder, time, "-KILL").await;
    assert!(matches!(code, Some(0) | None), "{code:?}");
    code == Some(0)
}

/// Returns the files below a folder that have this text.
fn files_with(text: &str, folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files_with(text, &path));
        } else if fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path);
        }
    }
    found
}

/// Creates what a killed command leaves.
fn leave_partial(folder: &Path) {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join("hubs")).unwrap();
    fs::write(folder.join("muster-partial.lock"), "").unwrap();
}

/// Whenever it is killed: under its name a backup is whole or missing, and the next attempt succeeds.
#[tokio::test]
async fn a_killed_backup_leaves_no_half_file() {
    let (plant, service) = Plant::start().await;
    plant.enroll(0..1000).await;
    let config = plant.fixture.config();
    let key = fs::read_to_string(plant.path("data/master.key")).unwrap();
    let mut ended = 0;
    for round in 0..12_u32 {
        let (backup, partial) =
            (plant.text(&format!("backup-{round}")), plant.path(&format!("backup-{round}.partial")));
        let command = ["backup", &backup, "--config", config.to_str().unwrap()];
        ended += u32::from(kill_within(&command, &partial, Duration::from_millis(80) * round).await);
        assert_eq!(files_with(key.trim(), &partial), [] as [PathBuf; 0], "{round}");
        if Path::new(&backup).exists() {
            let checked = muster_with(&[PASSPHRASE], ["backup", "check", &backup]).await;
            assert_eq!(checked.code, 0, "{round}: {checked:?}");
        }
    }
    assert!(ended < 12, "no backup was killed in the middle");
    leave_partial(&plant.path("last.partial"));
    fs::write(plant.path("last.partial/sealed"), "half").unwrap();
    let ended = plant.backup("last").await;
    assert!(ended.code == 0 && !plant.path("last.partial").exists(), "{ended:?}");
    stop(service).await;
}

/// Whenever a signal ends it: nothing is left beside the backup, and the key nowhere but in its file.
#[tokio::test]
async fn a_backup_that_a_signal_ends_leaves_nothing() {
    let (plant, service) = Plant::start().await;
    plant.enroll(0..1000).await;
    let config = plant.fixture.config();
    let key_file = plant.path("data/master.key");
    let key = fs::read_to_string(&key_file).unwrap();
    for (signal, number) in [("-INT", 2), ("-TERM", 15), ("-HUP", 1)] {
        for time in [0, 100, 500].map(Duration::from_millis) {
            let (backup, partial) = (plant.text("backup"), plant.path("backup.partial"));
            let command = ["backup", &backup, "--config", config.to_str().unwrap()];
            let code = end_within(&command, &partial, time, signal).await;
            let is_ended = code == Some(128 + number) || (!time.is_zero() && code == Some(0));
            assert!(is_ended, "{signal} after {time:?}: {code:?}");
            assert!(!partial.exists(), "{signal} after {time:?}");
            assert_eq!(files_with(key.trim(), plant.fixture.folder()), [key_file.as_path()]);
            if code == Some(0) {
                fs::remove_file(&backup).unwrap();
            }
        }
    }
    stop(service).await;
}

/// Nothing that others put where a command works is followed, adopted or changed.
#[tokio::test]
async fn a_foreign_folder_at_the_path_of_the_staging_folder_is_refused() {
    let (plant, service) = Plant::start().await;
    plant.enroll(0..3).await;
    assert_eq!(plant.backup("backup").await.code, 0);
    let victim = plant.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("muster.db"), "theirs").unwrap();
    fs::create_dir(plant.path("restored")).unwrap();
    let places = [plant.path("other.partial"), plant.path("restored/restore.partial")];
    let puts: [fn(&Path, &Path); 2] = [
        |victim, place| symlink(victim, place).unwrap(),
        |_, place| {
            fs::create_dir(place).unwrap();
            fs::set_permissions(place, fs::Permissions::from_mode(0o777)).unwrap();
        },
    ];
    for put in puts {
        for place in &places {
            put(&victim, place);
        }
        for refused in [plant.backup("other").await, plant.restore("backup", "restored").await] {
            let expected = "exists and was not left by an interrupted command";
            assert!(refused.code == 1 && refused.stderr.contains(expected), "{refused:?}");
        }
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(victim.join("muster.db")).unwrap(), "theirs");
        for place in &places {
            fs::remove_file(place).or_else(|_| fs::remove_dir(place)).unwrap();
        }
    }
    stop(service).await;
}

/// Whenever it is killed: the service starts on the whole backup or not at all.
#[tokio::test]
async fn a_killed_restore_leaves_no_folder_that_serves() {
    let (plant, service) = Plant::start().await;
    plant.enroll(0..1000).await;
    assert_eq!(plant.backup("backup").await.code, 0);
    stop(service).await;
    let (backup, mut folder) = (plant.text("backup"), "data".to_owned());
    let mut killed = 0;
    for round in 0..12_u32 {
        let next = format!("restored-{round}");
        let partial = plant.path(&next).join("restore.partial");
        let command = ["restore", &backup, "--data", &plant.text(&next)];
        kill_within(&command, &partial, Duration::from_millis(5) * round).await;
        plant.move_to(&folder, &next);
        folder = next;
        let data = plant.path(&folder);
        let checked = plant.check().await;
        if data.join("muster.db").exists() {
            assert_eq!(checked.code, 0, "{round}: {checked:?}");
        } else {
            killed += 1;
            assert!(
                checked.code == 1 && checked.stderr.contains("interrupted restore"),
                "{round}: {checked:?}"
            );
        }
    }
    assert!(killed > 0, "no restore was killed in the middle");
    // What is left of one is no obstacle, as long as nothing has its place.
    leave_partial(&plant.path("again/restore.partial"));
    assert_eq!(plant.restore("backup", "again").await.code, 0);
    fs::create_dir_all(plant.path("mixed/restore.partial")).unwrap();
    fs::create_dir_all(plant.path("mixed/hubs")).unwrap();
    let mixed = plant.restore("backup", "mixed").await;
    assert!(mixed.code == 1 && mixed.stderr.contains("interrupted restore"), "{mixed:?}");
}

/// The tools of the database make the backup, and the same key opens it elsewhere.
#[tokio::test]
async fn a_shared_database_is_backed_up_with_its_own_tools() {
    let (service, database) = (LinkingServer::new(), Postgres::shared().database());
    let (config, url) = (service.configure(""), database.url());
    let store = async |command: &str, url: &str| {
        muster(["store", command, "--config", &config, "--store", url]).await
    };
    assert_eq!(store("init", &url).await.code, 0);
    let refused =
        muster_with(&[PASSPHRASE], ["backup", "/nonexistent/backup", "--config", &config, "--store", &url])
            .await;
    assert!(refused.code == 1 && refused.stderr.contains("pg_dump"), "{refused:?}");

    let text = fs::read_to_string(&config).unwrap();
    let node = service.write("node.toml", &format!("store = {url:?}\n{text}"));
    let mut process = service.start(&node, Path::new("/nonexistent")).await;
    service.client().create_enrollment(&enrollment("dev-1")).await.unwrap();
    let dump = Postgres::shared().dump(&database.name);
    service.client().create_enrollment(&enrollment("dev-2")).await.unwrap();
    process.kill().await.unwrap();

    let copy = Postgres::shared().database();
    Postgres::shared().load(&copy.name, &dump);
    let checked = store("check", &copy.url()).await;
    assert!(checked.code == 0 && checked.stdout.contains("2 records read, 0 problems"), "{checked:?}");
    assert_eq!(store("hold", &copy.url()).await.code, 0);
    let node = service.write("copy.toml", &format!("store = {:?}\n{text}", copy.url()));
    let _process = service.start(&node, Path::new("/nonexistent")).await;
    service.client().enrollment("dev-1").await.unwrap();
    assert!(service.client().enrollment("dev-2").await.is_err(), "it came after the dump");
    let log = service.client().change_log(&LogFilter::default(), 500).await.unwrap().entries;
    assert!(log.iter().any(|entry| entry["operation"] == "instance.hold"), "{log:?}");
}
