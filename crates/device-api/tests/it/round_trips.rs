//! What the calls of a device cost a database that is reached over the network: its reads and commits, as its own log shows them.

use model::GroupAttestation;
use testkit::{
    postgres::{Database, Durability, Postgres},
    sample,
};

use crate::{
    http::{Http, VERSION},
    world::{Device, SCOPE, World, group},
};

/// The database of a world, which logs each statement.
struct Logged {
    server: Postgres,
    database: Database,
}

/// Statements outside of transactions, each a round trip, and transactions, each one with two.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    reads: usize,
    commits: usize,
}

impl Logged {
    fn start() -> Logged {
        let server = Postgres::start(Durability::NoFsync);
        let database = server.database();
        server.execute("postgres", &format!("ALTER DATABASE {} SET log_statement = 'all'", database.name));
        Logged { server, database }
    }

    /// Returns the statements that the service has run so far, with the process of each; leases are renewed by the clock.
    fn statements(&self) -> Vec<(String, String)> {
        let log = self.server.log();
        let statement = |line: &str| {
            let (head, statement) = line.split_once("LOG:  execute ")?;
            let process = head.split_once('[')?.1.split_once(']')?.0;
            Some((process.to_owned(), statement.split_once(": ")?.1.trim().to_owned()))
        };
        // A statement has several lines; all but the first are indented.
        let log = log.replace("\n\t", " ");
        log.lines().filter_map(statement).filter(|(_, sql)| !sql.starts_with("UPDATE leases")).collect()
    }

    /// Returns the cost of what a device does.
    async fn cost_of<T>(&self, call: impl Future<Output = T>) -> Cost {
        let before = self.statements().len();
        call.await;
        let statements = &self.statements()[before..];
        let mut open = Vec::new();
        let (mut reads, mut commits) = (0, 0);
        for (process, sql) in statements {
            match sql.as_str() {
                "BEGIN" => open.push(process),
                "COMMIT" => {
                    open.retain(|other| *other != process);
                    commits += 1;
                }
                _ if open.contains(&process) => {}
                _ => reads += 1,
            }
        }
        Cost { reads, commits }
    }
}

async fn look_up(http: &mut Http, device: &Device) {
    let path = format!("{}?api-version={VERSION}", device.path());
    assert_eq!(http.call("POST", path).token(device.token()).body("{}").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_registration_costs_two_reads_and_two_commits_and_a_return_one_of_each() {
    let logged = Logged::start();
    let world = World::on(&logged.database).await;
    world.enroll_group(group("line", GroupAttestation::SymmetricKey(sample::keys(20)))).await;
    let mut http = world.http(None).await;
    // Connections are opened by the first calls.
    for number in 0..4 {
        http.register(&world.device(&format!("warm-{number}")).await).await.assigned();
    }
    let [own, grouped] =
        [world.device("own").await, Device::new(SCOPE, "grouped", sample::key(20).derive("grouped"))];
    for device in [own, grouped] {
        let mut operation_id = String::new();
        let cost = logged.cost_of(async {
            let reply = http.register(&device).await;
            reply.assigned();
            operation_id = reply.operation_id();
        });
        assert_eq!(cost.await, Cost { reads: 2, commits: 2 }, "{}", device.id);
        let cost = logged.cost_of(http.poll(&device, &operation_id)).await;
        assert_eq!(cost, Cost { reads: 1, commits: 0 }, "poll {}", device.id);
        let cost = logged.cost_of(look_up(&mut http, &device)).await;
        assert_eq!(cost, Cost { reads: 1, commits: 0 }, "look-up {}", device.id);
        let cost = logged.cost_of(http.register(&device)).await;
        assert_eq!(cost, Cost { reads: 1, commits: 1 }, "return {}", device.id);
    }
}
