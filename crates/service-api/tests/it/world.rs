//! Two instances, `one` and `two`, on one store, and a client for them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use axum::{Router, body::Body, extract::ConnectInfo};
use durable::Sealer;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use model::{
    AccessPolicy, Cleanup, HostName, IdScope, Instance, Issuer, ManagedBy, Registration, ResourceFacts,
    Rights, Role,
};
use provisioning::{
    Ports, Provisioning,
    ports::{Change, Clock, Commit, Entropy, Expect, Outcome, PageRequest, RunnerId, Store, Unknown},
    resource::Portion,
    search::SearchSettings,
};
use runner::Runner;
use serde_json::{Value, json};
use service_api::{
    AuditEntry, AuditOutcome, AuditSink, BearerSettings, BearerTokens, ClaimPointer, GrantScope, KeySource,
    Management, OperatorAccess, RoleRow, RoleTable, ServiceApi, router,
};
use store::{EmbeddedStore, PostgresStore, postgres::Settings};
use testkit::{
    clock::SteppedClock,
    entropy::SeededEntropy,
    hub::FakeHubs,
    postgres::Database,
    sample,
    token_issuer::{self, AUDIENCE, ISSUER, TokenIssuer},
    webhook::FakeWebhook,
};
use tower_service::Service;

use crate::documented;

pub const OWNER: &str = "provisioningserviceowner";
pub const MANAGEMENT: &str = "management.example";

pub struct World {
    pub store: Arc<dyn Store>,
    pub clock: Arc<SteppedClock>,
    pub hubs: Arc<FakeHubs>,
    pub provisioning: Arc<Provisioning>,
    pub api: ServiceApi,
    issuer: Arc<TokenIssuer>,
    pub calls: Arc<RecordedCalls>,
    pub access: Arc<ArcSwap<OperatorAccess>>,
    router: Router,
    folder: tempfile::TempDir,
}

/// The keys of the issuer of bearer tokens.
struct Keys(Arc<TokenIssuer>);

#[async_trait]
impl KeySource for Keys {
    async fn fetch(&self) -> Result<Vec<u8>, String> {
        Ok(self.0.key_set())
    }
}

/// Returns the verifier of bearer tokens, in which each value `SCOPE ROLE` has the role on the instance, and `all ROLE` on all.
fn bearer_tokens(issuer: &Arc<TokenIssuer>) -> Arc<BearerTokens> {
    let scopes = [
        ("all", GrantScope::All),
        ("one", GrantScope::Instance(id_scope("one"))),
        ("two", GrantScope::Instance(id_scope("two"))),
    ];
    let row = |(name, on): &(&str, GrantScope), role: Role| RoleRow {
        value: format!("{name} {role}"),
        role,
        on: on.clone(),
    };
    let rows = scopes.iter().flat_map(|scope| Role::ALL.map(|role| row(scope, role))).collect();
    let settings = BearerSettings {
        issuer: Issuer::parse(ISSUER).unwrap(),
        audiences: vec![AUDIENCE.to_owned()],
        roles: RoleTable::new(ClaimPointer::parse("/roles").unwrap(), rows),
    };
    Arc::new(BearerTokens::new(settings, Arc::new(Keys(Arc::clone(issuer)))))
}

/// The calls that the endpoint recorded: outcome, operator, method and path.
#[derive(Default)]
pub struct RecordedCalls(Mutex<Vec<String>>);

impl RecordedCalls {
    pub fn sorted(&self) -> Vec<String> {
        let mut calls = self.0.lock().unwrap().clone();
        calls.sort();
        calls
    }
}

impl AuditSink for RecordedCalls {
    fn record(&self, entry: &AuditEntry<'_>) {
        let outcome = match &entry.outcome {
            AuditOutcome::Done => "done".to_owned(),
            AuditOutcome::Refused(failure) | AuditOutcome::Failed(failure) => failure.code.to_string(),
        };
        let (actor, method, path) = (entry.actor.map_or("-", |actor| actor.name()), entry.method, entry.path);
        self.0.lock().unwrap().push(format!("{outcome} {actor} {method} {path}"));
    }
}

/// Opens an empty store: an embedded one, or what `MUSTER_TEST_STORE` names.
async fn open(folder: &Path) -> Arc<dyn Store> {
    let sealer = Sealer::from_key([7; 32]);
    let Some(database) = Database::chosen() else {
        return Arc::new(EmbeddedStore::open(&folder.join("muster.db"), sealer).unwrap());
    };
    let settings = Settings::parse(&database.url()).unwrap();
    Arc::new(PostgresStore::connect(settings, sealer).await.unwrap())
}

/// Stores the instances.
async fn fill_instances(store: &dyn Store) {
    for scope in ["one", "two"] {
        store.put_instance(instance(scope), sample::by()).await.unwrap();
    }
}

impl World {
    pub async fn new() -> World {
        Self::managed_by(|_| {}).await
    }

    /// Creates a world with a changed management API.
    pub async fn managed_by(change: impl Fn(&mut Management)) -> World {
        let mut management = management();
        change(&mut management);
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        fill_instances(&*store).await;
        Self::over(folder, store, management)
    }

    /// Creates a world with an embedded store that was changed by SQL before it was opened.
    pub async fn after_sql(sql: &str) -> World {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("muster.db");
        let store = EmbeddedStore::open(&file, Sealer::from_key([7; 32])).unwrap();
        fill_instances(&store).await;
        store.close().await;
        durable::rusqlite::Connection::open(&file).unwrap().execute_batch(sql).unwrap();
        let store = Arc::new(EmbeddedStore::open(&file, Sealer::from_key([7; 32])).unwrap());
        Self::over(folder, store, management())
    }

    fn over(folder: tempfile::TempDir, store: Arc<dyn Store>, management: Management) -> World {
        let clock = Arc::new(SteppedClock::default());
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let hubs = ["far.example", "near.example", "new.example"].map(sample::hub_name);
        let hubs = Arc::new(FakeHubs::new(hubs));
        let ports = Ports {
            store: store.clone(),
            hubs: hubs.clone(),
            webhook: Arc::new(FakeWebhook::default()),
            topology: Arc::new(Unknown),
            clock: clock.clone(),
            entropy: entropy.clone(),
        };
        let settings = Some(SearchSettings::default());
        let provisioning = Arc::new(Provisioning::new(ports).searching(settings));
        let id = RunnerId::random(&*entropy);
        let runner = Runner::new(Arc::clone(&provisioning), store.clone(), id);
        let runs = Arc::new(runner.assignments().clone());
        let issuer = Arc::new(TokenIssuer::new("key-1"));
        let service = ServiceApi::new(Arc::clone(&provisioning), runs, clock.clone(), entropy);
        let bearer = Some(bearer_tokens(&issuer));
        let access = Arc::new(ArcSwap::from_pointee(OperatorAccess { management, bearer }));
        let service = service.with_access(Arc::clone(&access));
        let calls = Arc::<RecordedCalls>::default();
        let api = service.with_audit(calls.clone());
        let router = router(api.clone());
        World { store, clock, hubs, provisioning, api, issuer, calls, access, router, folder }
    }

    /// Executes SQL on the file of the open store, which is the embedded one.
    pub fn execute_sql(&self, sql: &str) {
        let database = durable::rusqlite::Connection::open(self.folder.path().join("muster.db")).unwrap();
        database.execute_batch(sql).unwrap();
    }

    /// Creates a request to the instance `one` by its owner.
    pub fn request(&self, method: Method, path: &str) -> TestRequest<'_> {
        let mut request = TestRequest {
            world: self,
            method,
            path: path.to_owned(),
            version: Some("2021-10-01".into()),
            from: None,
            headers: HeaderMap::new(),
            body: Body::empty(),
        };
        request.set("host", "one.example");
        request.signed(&self.token("one", OWNER))
    }

    pub fn get(&self, path: &str) -> TestRequest<'_> {
        self.request(Method::GET, path)
    }

    pub fn put(&self, path: &str, body: &Value) -> TestRequest<'_> {
        self.request(Method::PUT, path).json(body)
    }

    pub fn post(&self, path: &str, body: &Value) -> TestRequest<'_> {
        self.request(Method::POST, path).json(body)
    }

    pub fn delete(&self, path: &str) -> TestRequest<'_> {
        self.request(Method::DELETE, path)
    }

    /// Returns a token for a host, signed with the key of the management API.
    pub fn management_token(&self, host: &str) -> String {
        let expiry = u64::try_from(self.clock.now().unix_seconds()).unwrap() + 3600;
        wire::sas::sign(host, sample::key(99).as_bytes(), expiry, Some("root"))
    }

    /// Creates a request to the management API at its own host.
    pub fn manage(&self, method: Method, path: &str, body: &Value) -> TestRequest<'_> {
        let request = self.request(method, path).version(Some("2022-02-05")).header("host", MANAGEMENT);
        request.json(body).signed(&self.management_token(MANAGEMENT))
    }

    /// Returns a token for an instance, signed with the key of an access policy.
    pub fn token(&self, scope: &str, policy: &str) -> String {
        let expiry = u64::try_from(self.clock.now().unix_seconds()).unwrap() + 3600;
        let key = instance(scope).access_policy(policy).unwrap().primary_key.clone();
        wire::sas::sign(&format!("{scope}.example"), key.as_bytes(), expiry, Some(policy))
    }

    /// Returns the claims of a bearer token for a subject with these values in the claim of roles.
    pub fn claims(&self, subject: &str, roles: &[&str]) -> Value {
        token_issuer::claims(subject, roles, self.clock.now().unix_seconds() + 3600)
    }

    /// Signs a bearer token, and returns the header with it.
    pub fn bearer(&self, claims: &Value) -> String {
        format!("Bearer {}", self.issuer.sign(claims))
    }

    /// Stores a registration.
    pub async fn register(&self, scope: &str, registration: Registration) {
        self.write(scope, Change::PutRegistration(Box::new(registration))).await;
    }

    /// Stores a cleanup.
    pub async fn store_cleanup(&self, scope: &str, cleanup: Cleanup) {
        self.write(scope, Change::PutCleanup(Box::new(cleanup))).await;
    }

    async fn write(&self, scope: &str, change: Change) {
        let changes = vec![(Expect::Absent, change)];
        let outcomes =
            self.store.commit(&id_scope(scope), Commit { changes, ..Commit::by(sample::by()) }).await;
        assert_eq!(outcomes.unwrap(), [Outcome::Applied]);
    }

    /// Brings the search table of an instance up to date.
    pub async fn fill_search_table(&self, scope: &str) {
        let scope = id_scope(scope);
        while self.provisioning.follow_changes(&scope).await.unwrap() == Portion::More {}
    }

    /// Returns all records of both instances.
    pub async fn snapshots(&self) -> [String; 2] {
        [self.snapshot("one").await, self.snapshot("two").await]
    }

    /// Returns all records of an instance.
    pub async fn snapshot(&self, scope: &str) -> String {
        let (store, scope) = (&self.store, id_scope(scope));
        let all = PageRequest { after: None, limit: 1000 };
        let today = self.clock.now().day();
        let configuration = store.configuration(&scope).await.unwrap();
        let group = sample::group_id("group-1");
        format!(
            "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}",
            configuration.trust(),
            store.instance(&scope).await.unwrap(),
            store.individuals(&scope, all.clone()).await.unwrap(),
            configuration.group_page(&all),
            store.registrations_of(&scope, &group, all.clone()).await.unwrap(),
            store.cleanups(&scope, all).await.unwrap(),
            store.registration(&scope, &sample::registration_id("dev-1")).await.unwrap(),
            store.usage(&scope, today, today).await.unwrap(),
        )
    }
}

/// Returns an instance with its own keys, and one access policy per right besides the owner's.
pub fn instance(scope: &str) -> Instance {
    let byte = scope.as_bytes()[0];
    let policy = |(number, right): (u8, &str)| AccessPolicy {
        name: model::PolicyName::parse(right).unwrap(),
        primary_key: sample::key(byte.wrapping_add(number)),
        secondary_key: sample::key(byte.wrapping_add(number + 100)),
        rights: if right == OWNER { Rights::OF_POLICIES } else { Rights::parse(right).unwrap() },
    };
    let names = [
        OWNER,
        "ServiceConfig",
        "EnrollmentRead",
        "EnrollmentWrite",
        "DeviceConnect",
        "RegistrationStatusRead",
        "RegistrationStatusWrite",
        "ChangeLogRead",
    ];
    Instance {
        access_policies: (0..).zip(names).map(policy).collect(),
        managed: ManagedBy::Operators,
        resource: ResourceFacts {
            subscription: "s".into(),
            resource_group: "g".into(),
            ..ResourceFacts::default()
        },
        ..sample::instance(scope)
    }
}

/// The management API of the tests.
fn management() -> Management {
    let policy = AccessPolicy {
        name: model::PolicyName::parse("root").unwrap(),
        primary_key: sample::key(99),
        secondary_key: sample::key(98),
        rights: Rights::ALL,
    };
    Management {
        host: Some(HostName::parse(MANAGEMENT).unwrap()),
        domain: Some("example".into()),
        policies: vec![policy],
    }
}

/// Returns the routes of the management API. The deletion of an instance is the last one.
pub fn management_routes() -> impl Iterator<Item = (Method, String)> {
    let is_deletion = |method: &Method, pattern: &str| {
        method == Method::DELETE && pattern.ends_with("{provisioningServiceName}")
    };
    let mut routes: Vec<_> = service_api::routes().filter(|(_, it)| is_management(it)).collect();
    routes.sort_by_key(|(method, pattern)| is_deletion(method, pattern));
    routes.into_iter()
}

/// Returns the other routes, which are those of an instance.
pub fn service_routes() -> impl Iterator<Item = (Method, String)> {
    service_api::routes().filter(|(_, pattern)| !is_management(pattern))
}

pub fn is_management(pattern: &str) -> bool {
    pattern.starts_with("/subscriptions/") || pattern.starts_with("/providers/")
}

/// Returns the path of a resource, and of what is below it.
pub fn resource(name: &str, rest: &str) -> String {
    format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices/{name}{rest}")
}

pub fn id_scope(scope: &str) -> IdScope {
    IdScope::parse(scope).unwrap()
}

/// Returns the path of a route with this ID.
pub fn with_id(pattern: &str, id: &str) -> String {
    match (pattern.find('{'), pattern.find('}')) {
        (Some(start), Some(end)) => format!("{}{id}{}", &pattern[..start], &pattern[end + 1..]),
        _ => pattern.to_owned(),
    }
}

/// A request under construction.
pub struct TestRequest<'a> {
    world: &'a World,
    method: Method,
    path: String,
    version: Option<String>,
    from: Option<IpAddr>,
    headers: HeaderMap,
    body: Body,
}

impl TestRequest<'_> {
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    pub fn signed(self, token: &str) -> Self {
        self.header("authorization", token)
    }

    /// Changes the instance, and signs as its owner.
    pub fn of(self, scope: &str) -> Self {
        let token = self.world.token(scope, OWNER);
        self.header("host", &format!("{scope}.example")).signed(&token)
    }

    /// Sets the address of the caller.
    pub fn from(mut self, address: &str) -> Self {
        self.from = Some(address.parse().unwrap());
        self
    }

    pub fn if_match(self, etag: &str) -> Self {
        self.header("if-match", etag)
    }

    pub fn version(mut self, version: Option<&str>) -> Self {
        self.version = version.map(str::to_owned);
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").raw(body.to_string().into_bytes())
    }

    pub fn raw(self, body: Vec<u8>) -> Self {
        self.body(Body::from(body))
    }

    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub async fn send(self) -> TestReply {
        let joint = if self.path.contains('?') { '&' } else { '?' };
        let uri = match &self.version {
            Some(version) => format!("{}{joint}api-version={version}", self.path),
            None => self.path.clone(),
        };
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.parse().unwrap();
        *request.headers_mut() = self.headers;
        if let Some(address) = self.from {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address, 5671)));
        }
        let response = self.world.router.clone().call(request).await.unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        documented::check(&self.method, &self.path, head.status.as_u16(), &text);
        TestReply {
            asked: format!("{} {uri}", self.method),
            status: head.status,
            headers: head.headers,
            text,
        }
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.headers.insert(name, value.parse().unwrap());
    }
}

/// A reply.
pub struct TestReply {
    asked: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl fmt::Debug for TestReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{} {:?}\n{}", self.asked, self.status, self.headers, self.text)
    }
}

impl TestReply {
    /// Returns the body of a reply with status 200.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json; charset=utf-8"));
        serde_json::from_str(&self.text).unwrap()
    }

    /// Asserts that the reply has status 204 and no body.
    #[track_caller]
    pub fn deleted(&self) {
        assert_eq!((self.status.as_u16(), self.text.as_str()), (204, ""), "{self:?}");
    }

    /// Asserts that the reply is this error in the documented form, and returns its message.
    #[track_caller]
    pub fn refused(&self, code: u32) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"));
        assert_eq!(u32::from(self.status.as_u16()), code / 1000, "{self:?}");
        assert_eq!(self.header("x-ms-error-code"), Some(code.to_string().as_str()), "{self:?}");
        if body.get("httpStatusCode").is_some() {
            assert!([json!(code), json!(code.to_string())].contains(&body["code"]), "{self:?}");
            assert!(body["details"].as_str().unwrap().starts_with("tracking ID "), "{self:?}");
            return body["message"].as_str().unwrap().to_owned();
        }
        assert_eq!(body["errorCode"], json!(code), "{self:?}");
        assert_eq!(body["trackingId"].as_str().unwrap().len(), 36, "{self:?}");
        assert!(body["timestampUtc"].as_str().unwrap().ends_with('Z'), "{self:?}");
        body["message"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Returns a body that creates an individual enrollment.
pub fn individual(id: &str) -> Value {
    json!({"registrationId": id, "attestation": {"type": "symmetricKey"}})
}

/// Returns a body that creates an enrollment group.
pub fn group(id: &str) -> Value {
    json!({"enrollmentGroupId": id, "attestation": {"type": "symmetricKey"}})
}
