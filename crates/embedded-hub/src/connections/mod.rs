//! The connected devices: one live connection for each.

mod device_link;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering},
    },
};

use model::{DeviceId, Timestamp};
use tokio::sync::{Notify, oneshot};
use wire::{hub::MethodReply, topics::DeviceFilter};

use crate::storage::Activity;

pub use device_link::{DeviceLink, DisconnectReason, SendError, Sent};

/// All live connections of one hub.
#[derive(Default)]
pub struct Connections {
    live: Mutex<HashMap<DeviceId, Arc<LiveConnection>>>,
    /// The expiries of tokens, by second and connection.
    expiries: Mutex<BTreeMap<(i64, u64), Arc<LiveConnection>>>,
    /// Connections with activity that is not recorded yet.
    touched: Mutex<Vec<Arc<LiveConnection>>>,
    /// Activity without a connection that is not recorded yet.
    unconnected: Mutex<HashMap<DeviceId, Activity>>,
    /// Notified when a device subscribes to methods.
    pub methods_subscribed: Notify,
    next: AtomicU64,
}

/// One live connection.
pub struct LiveConnection {
    /// The device.
    pub id: DeviceId,
    /// When it connected.
    pub since: Timestamp,
    /// Sends to the device.
    pub link: Box<dyn DeviceLink>,
    /// Its number, unique in the hub.
    pub number: u64,
    /// When its token expires; changes only while [`Connections::expiries`] is locked.
    expires: Mutex<Option<Timestamp>>,
    subscriptions: AtomicU8,
    calls: Mutex<Calls>,
    touched: AtomicBool,
    /// In ticks.
    active_at: AtomicI64,
    /// In ticks; 0 while it is connected.
    ended_at: AtomicI64,
    telemetry: AtomicU64,
}

#[derive(Default)]
struct Calls {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<MethodReply>>,
}

impl Connections {
    /// Adds a connection; an older one of the same device is closed, and returned.
    pub fn open(
        &self,
        id: DeviceId,
        link: Box<dyn DeviceLink>,
        now: Timestamp,
        expires: Option<Timestamp>,
    ) -> (Arc<LiveConnection>, Option<Arc<LiveConnection>>) {
        let live = Arc::new(LiveConnection {
            id: id.clone(),
            since: now,
            link,
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
            older.link.disconnect(DisconnectReason::Replaced);
        }
        self.touch(&live, now);
        (live, older)
    }

    /// Removes a connection that has ended.
    pub fn remove(&self, live: &Arc<LiveConnection>, now: Timestamp) {
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

    /// Returns the connection of a device, if it has one.
    pub fn of(&self, id: &DeviceId) -> Option<Arc<LiveConnection>> {
        locked(&self.live).get(id).filter(|live| !live.link.is_disconnected()).cloned()
    }

    /// Closes the connection of a device, if it has one.
    pub fn close(&self, id: &DeviceId, reason: DisconnectReason) {
        let live = locked(&self.live).get(id).cloned();
        if let Some(live) = live {
            live.link.disconnect(reason);
        }
    }

    /// Returns how many devices are connected.
    pub fn count(&self) -> usize {
        locked(&self.live).len()
    }

    /// Closes the connections whose tokens have expired.
    pub fn close_expired(&self, now: Timestamp) {
        let mut expiries = locked(&self.expiries);
        let later = expiries.split_off(&(now.unix_seconds() + 1, 0));
        let expired = std::mem::replace(&mut *expiries, later);
        drop(expiries);
        for live in expired.values() {
            live.link.disconnect(DisconnectReason::TokenExpired);
        }
    }

    /// Sets the expiry of a connection's new token.
    pub fn renew(&self, live: &Arc<LiveConnection>, expires: Option<Timestamp>) {
        let mut expiries = locked(&self.expiries);
        if let Some(key) = live.expiry_key() {
            expiries.remove(&key);
        }
        *locked(&live.expires) = expires;
        if let Some(key) = live.expiry_key() {
            expiries.insert(key, Arc::clone(live));
        }
    }

    /// Records activity of a connection.
    pub fn touch(&self, live: &Arc<LiveConnection>, now: Timestamp) {
        live.active_at.fetch_max(now.ticks(), Ordering::Relaxed);
        if !live.touched.swap(true, Ordering::AcqRel) {
            locked(&self.touched).push(Arc::clone(live));
        }
    }

    /// Records activity of a device without a connection.
    pub fn note_activity_of(&self, id: &DeviceId, telemetry: u64, now: Timestamp) {
        let mut unconnected = locked(&self.unconnected);
        let activity = unconnected.entry(id.clone()).or_insert_with(|| Activity {
            id: id.clone(),
            state_at: None,
            active_at: now,
            telemetry: 0,
        });
        activity.active_at = activity.active_at.max(now);
        activity.telemetry += telemetry;
    }

    /// Takes the activity since the last call.
    pub fn take_activity(&self) -> Vec<Activity> {
        let touched = std::mem::take(&mut *locked(&self.touched));
        let unconnected = std::mem::take(&mut *locked(&self.unconnected));
        touched.iter().map(|live| live.take_activity()).chain(unconnected.into_values()).collect()
    }
}

impl LiveConnection {
    /// Counts a telemetry message.
    pub fn count_telemetry(&self) {
        self.telemetry.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when it was last active.
    pub fn active_at(&self) -> Timestamp {
        Timestamp::from_ticks(self.active_at.load(Ordering::Relaxed))
    }

    /// Returns how many telemetry messages are not recorded yet.
    pub fn telemetry(&self) -> u64 {
        self.telemetry.load(Ordering::Relaxed)
    }

    /// Adds a subscription.
    pub fn subscribe(&self, filter: DeviceFilter) {
        self.subscriptions.fetch_or(bit(filter), Ordering::AcqRel);
    }

    /// Removes a subscription.
    pub fn unsubscribe(&self, filter: DeviceFilter) {
        self.subscriptions.fetch_and(!bit(filter), Ordering::AcqRel);
    }

    /// Returns whether the device is subscribed.
    pub fn is_subscribed_to(&self, filter: DeviceFilter) -> bool {
        self.subscriptions.load(Ordering::Acquire) & bit(filter) != 0
    }

    /// Begins a method call; returns its request ID and the receiver of its reply, or `None` if too many are pending.
    pub fn begin_call(&self) -> Option<(u64, oneshot::Receiver<MethodReply>)> {
        let mut calls = locked(&self.calls);
        if calls.waiting.len() >= MAX_CALLS {
            return None;
        }
        calls.last += 1;
        let request = calls.last;
        let (reply, receiver) = oneshot::channel();
        calls.waiting.insert(request, reply);
        Some((request, receiver))
    }

    /// Ends a call, with its reply if there is one; the reply to a call that has ended is dropped.
    pub fn end_call(&self, request: u64, reply: Option<MethodReply>) {
        let waiting = locked(&self.calls).waiting.remove(&request);
        if let (Some(waiting), Some(reply)) = (waiting, reply) {
            // The caller may have been canceled.
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

/// Locks a map, also after a panic of a holder: every change to it is one call, so it is consistent.
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

/// Pending method calls of one device; the hosted hub throttles at a similar rate.
const MAX_CALLS: usize = 32;
