//! The devices that are connected now: one live connection per device, and what goes to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{DeviceId, Timestamp};
use tokio::sync::{Notify, oneshot};
use wire::{hub::MethodReply, topics::DeviceFilter};

use crate::{
    device_link::{DeviceLink, Parting},
    storage::Activity,
};

/// All live connections of one hub.
#[derive(Default)]
pub struct Connections {
    live: Mutex<HashMap<DeviceId, Arc<Live>>>,
    /// When tokens run out, by second and connection.
    expiries: Mutex<BTreeMap<(i64, u64), Arc<Live>>>,
    /// Connections that did something since the last time it was noted.
    touched: Mutex<Vec<Arc<Live>>>,
    /// What devices did without a connection since then.
    passing: Mutex<HashMap<DeviceId, Activity>>,
    /// Somebody subscribed to methods.
    pub listening: Notify,
    next: AtomicU64,
}

/// One live connection.
pub struct Live {
    /// The device.
    pub id: DeviceId,
    /// When it connected.
    pub since: Timestamp,
    /// The way to it.
    pub line: Box<dyn DeviceLink>,
    /// Which of the hub's connections it is.
    pub number: u64,
    /// When its token runs out; changes only while [`Connections::expiries`] is locked.
    expires: Mutex<Option<Timestamp>>,
    subscriptions: AtomicU8,
    calls: Mutex<Calls>,
    touched: AtomicBool,
    /// Ticks.
    active_at: AtomicI64,
    /// Ticks; 0 while it is connected.
    ended_at: AtomicI64,
    telemetry: AtomicU64,
}

#[derive(Default)]
struct Calls {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<MethodReply>>,
}

impl Connections {
    /// Takes in a new connection; an older one of the same device is closed, and returned too.
    pub fn open(
        &self,
        id: DeviceId,
        line: Box<dyn DeviceLink>,
        now: Timestamp,
        expires: Option<Timestamp>,
    ) -> (Arc<Live>, Option<Arc<Live>>) {
        let live = Arc::new(Live {
            id: id.clone(),
            since: now,
            line,
            number: self.next.fetch_add(1, Ordering::Relaxed),
            expires: Mutex::new(expires),
            subscriptions: AtomicU8::new(0),
            calls: Mutex::default(),
            touched: AtomicBool::new(false),
            active_at: AtomicI64::new(now.ticks()),
            ended_at: AtomicI64::new(0),
            telemetry: AtomicU64::new(0),
        });
        if let Some(key) = live.expiry_key() {
            locked(&self.expiries).insert(key, Arc::clone(&live));
        }
        let older = locked(&self.live).insert(id, Arc::clone(&live));
        if let Some(older) = &older {
            older.line.part(Parting::Anew);
        }
        self.touch(&live, now);
        (live, older)
    }

    /// Lets go of a connection that has ended.
    pub fn ended(&self, live: &Arc<Live>, now: Timestamp) {
        if let Some(key) = live.expiry_key() {
            locked(&self.expiries).remove(&key);
        }
        locked(&live.calls).waiting.clear();
        let mut all = locked(&self.live);
        if all.get(&live.id).is_some_and(|current| current.number == live.number) {
            all.remove(&live.id);
            drop(all);
            live.ended_at.store(now.ticks(), Ordering::Relaxed);
        } else {
            drop(all);
        }
        self.touch(live, now);
    }

    /// The connection of a device, if it has one.
    pub fn of(&self, id: &DeviceId) -> Option<Arc<Live>> {
        locked(&self.live).get(id).filter(|live| !live.line.is_parted()).cloned()
    }

    /// Closes the connection of a device, if it has one.
    pub fn close(&self, id: &DeviceId, parting: Parting) {
        let live = locked(&self.live).get(id).cloned();
        if let Some(live) = live {
            live.line.part(parting);
        }
    }

    /// How many devices are connected.
    pub fn count(&self) -> usize {
        locked(&self.live).len()
    }

    /// Closes the connections whose tokens have run out.
    pub fn close_expired(&self, now: Timestamp) {
        let mut expiries = locked(&self.expiries);
        let later = expiries.split_off(&(now.unix_seconds() + 1, 0));
        let expired = std::mem::replace(&mut *expiries, later);
        drop(expiries);
        for live in expired.values() {
            live.line.part(Parting::Expired);
        }
    }

    /// Notes that a connection has a new token, which runs out at another time.
    pub fn renew(&self, live: &Arc<Live>, expires: Option<Timestamp>) {
        let mut expiries = locked(&self.expiries);
        if let Some(key) = live.expiry_key() {
            expiries.remove(&key);
        }
        *locked(&live.expires) = expires;
        if let Some(key) = live.expiry_key() {
            expiries.insert(key, Arc::clone(live));
        }
    }

    /// Notes that the connection did something.
    pub fn touch(&self, live: &Arc<Live>, now: Timestamp) {
        live.active_at.fetch_max(now.ticks(), Ordering::Relaxed);
        if !live.touched.swap(true, Ordering::AcqRel) {
            locked(&self.touched).push(Arc::clone(live));
        }
    }

    /// Notes what a device did without a connection.
    pub fn pass_by(&self, id: &DeviceId, telemetry: u64, now: Timestamp) {
        let mut passing = locked(&self.passing);
        let passed = passing.entry(id.clone()).or_insert_with(|| Activity {
            id: id.clone(),
            state_at: None,
            active_at: now,
            telemetry: 0,
        });
        passed.active_at = passed.active_at.max(now);
        passed.telemetry += telemetry;
    }

    /// What was done since the last call.
    pub fn take_activity(&self) -> Vec<Activity> {
        let touched = std::mem::take(&mut *locked(&self.touched));
        let passing = std::mem::take(&mut *locked(&self.passing));
        touched.iter().map(|live| live.take_activity()).chain(passing.into_values()).collect()
    }
}

impl Live {
    /// Counts a telemetry message.
    pub fn count_telemetry(&self) {
        self.telemetry.fetch_add(1, Ordering::Relaxed);
    }

    /// When it last did anything.
    pub fn active_at(&self) -> Timestamp {
        Timestamp::from_ticks(self.active_at.load(Ordering::Relaxed))
    }

    /// Telemetry messages that are not noted yet.
    pub fn telemetry(&self) -> u64 {
        self.telemetry.load(Ordering::Relaxed)
    }

    /// Notes a subscription.
    pub fn subscribe(&self, filter: DeviceFilter) {
        self.subscriptions.fetch_or(bit(filter), Ordering::AcqRel);
    }

    /// Notes the end of a subscription.
    pub fn unsubscribe(&self, filter: DeviceFilter) {
        self.subscriptions.fetch_and(!bit(filter), Ordering::AcqRel);
    }

    /// Whether the device wants these.
    pub fn listens_to(&self, filter: DeviceFilter) -> bool {
        self.subscriptions.load(Ordering::Acquire) & bit(filter) != 0
    }

    /// A new method call: its request ID, and where the reply will come. `None` when too many wait.
    pub fn begin_call(&self) -> Option<(u64, oneshot::Receiver<MethodReply>)> {
        let mut calls = locked(&self.calls);
        if calls.waiting.len() >= MAX_CALLS {
            return None;
        }
        calls.last += 1;
        let request = calls.last;
        let (reply, replied) = oneshot::channel();
        calls.waiting.insert(request, reply);
        Some((request, replied))
    }

    /// Hands the reply to whoever waits for it; a reply that nobody waits for is dropped.
    pub fn end_call(&self, request: u64, reply: Option<MethodReply>) {
        let waiting = locked(&self.calls).waiting.remove(&request);
        if let (Some(waiting), Some(reply)) = (waiting, reply) {
            // The caller may have given up in the meantime.
            let _ = waiting.send(reply);
        }
    }

    fn expiry_key(&self) -> Option<(i64, u64)> {
        let expires = *locked(&self.expires);
        expires.map(|expires| (expires.unix_seconds(), self.number))
    }

    fn take_activity(&self) -> Activity {
        self.touched.store(false, Ordering::Release);
        let ended = self.ended_at.load(Ordering::Relaxed);
        Activity {
            id: self.id.clone(),
            state_at: Some(if ended == 0 { self.since } else { Timestamp::from_ticks(ended) }),
            active_at: self.active_at(),
            telemetry: self.telemetry.swap(0, Ordering::Relaxed),
        }
    }
}

/// A lock whose holder panicked still guards a map in order: every change to it is one call.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bit(filter: DeviceFilter) -> u8 {
    match filter {
        DeviceFilter::Desired => 1,
        DeviceFilter::Devicebound => 2,
        DeviceFilter::Methods => 4,
        DeviceFilter::TwinReplies => 8,
    }
}

/// Method calls that may wait for one device; the real hub throttles at a similar rate.
const MAX_CALLS: usize = 32;
