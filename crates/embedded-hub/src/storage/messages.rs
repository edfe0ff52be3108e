//! The rows of queued messages.

use model::{DeviceId, Timestamp};
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::failure::HubFailure;

use super::{Kind, Rows, seal, unseal};

/// A cloud-to-device message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// System properties by their short names (`mid`, `to`, `cid`, …).
    #[serde(rename = "s")]
    pub system: Vec<(String, String)>,
    /// Application properties.
    #[serde(rename = "a")]
    pub application: Vec<(String, String)>,
    /// Its content.
    #[serde(rename = "b", with = "base64_text")]
    pub body: Vec<u8>,
}

/// When a message was queued, and when it expires.
#[derive(Debug, Clone, Copy)]
pub struct QueueTimes {
    /// When it was queued.
    pub enqueued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A queued message.
#[derive(Debug, Clone)]
pub struct QueuedMessage {
    /// Its sequence number, which grows and is never used twice.
    pub sequence: i64,
    /// Its times.
    pub times: QueueTimes,
    /// How often the device held it and did not complete it.
    pub returns: u32,
    /// Whether the device may have received it before: it was returned, or an earlier process may have sent it.
    pub may_repeat: bool,
    /// The message.
    pub message: StoredMessage,
}

impl Rows<'_> {
    /// Appends a message to a device's queue, which may hold `limit`; returns false if it is full.
    pub fn enqueue(
        &self,
        id: &DeviceId,
        message: &StoredMessage,
        times: QueueTimes,
        limit: usize,
    ) -> Result<bool, HubFailure> {
        if self.waiting(id)? >= limit as u64 {
            return Ok(false);
        }
        let sealed = seal(self.sealer, Kind::Message, id.as_str(), message)?;
        let sql = "INSERT INTO message (device, enqueued_at, expires_at, document) VALUES (?1, ?2, ?3, ?4)";
        let row = params![id.as_str(), times.enqueued_at.ticks(), times.expires_at.ticks(), sealed];
        self.connection.prepare_cached(sql)?.execute(row)?;
        Ok(true)
    }

    /// Returns at most `limit` messages of a device, the oldest first, without those that have expired or that `is_held` excludes by
    /// their sequence.
    pub fn messages(
        &self,
        id: &DeviceId,
        now: Timestamp,
        limit: usize,
        is_held: impl Fn(i64) -> bool,
    ) -> Result<Vec<QueuedMessage>, HubFailure> {
        let sql = "SELECT sequence, enqueued_at, expires_at, returns, document FROM message \
                   WHERE device = ?1 AND expires_at > ?2 ORDER BY sequence";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![id.as_str(), now.ticks()])?;
        let mut waiting = Vec::new();
        while waiting.len() < limit
            && let Some(row) = rows.next()?
        {
            let sequence = row.get(0)?;
            if is_held(sequence) {
                continue;
            }
            let time = |column| Ok::<_, rusqlite::Error>(Timestamp::from_ticks(row.get(column)?));
            let sealed: Vec<u8> = row.get(4)?;
            let returns = row.get(3)?;
            waiting.push(QueuedMessage {
                sequence,
                times: QueueTimes { enqueued_at: time(1)?, expires_at: time(2)? },
                returns,
                may_repeat: returns > 0 || sequence <= self.maybe_sent,
                message: unseal(self.sealer, Kind::Message, id.as_str(), &sealed)?,
            });
        }
        Ok(waiting)
    }

    /// Removes a message that its device has completed or rejected.
    pub fn remove_message(&self, id: &DeviceId, sequence: i64) -> Result<(), HubFailure> {
        let sql = "DELETE FROM message WHERE sequence = ?1 AND device = ?2";
        self.connection.prepare_cached(sql)?.execute(params![sequence, id.as_str()])?;
        Ok(())
    }

    /// Counts the return of a message, and removes it after the last allowed one; returns whether it was removed.
    pub fn return_message(&self, id: &DeviceId, sequence: i64, max_returns: u32) -> Result<bool, HubFailure> {
        let sql = "UPDATE message SET returns = returns + 1 WHERE sequence = ?1 AND device = ?2";
        self.connection.prepare_cached(sql)?.execute(params![sequence, id.as_str()])?;
        let sql = "DELETE FROM message WHERE sequence = ?1 AND device = ?2 AND returns >= ?3";
        Ok(self.connection.prepare_cached(sql)?.execute(params![sequence, id.as_str(), max_returns])? == 1)
    }

    /// Removes all messages of a device; returns how many there were.
    pub fn purge(&self, id: &DeviceId) -> Result<u64, HubFailure> {
        let purged = self
            .connection
            .prepare_cached("DELETE FROM message WHERE device = ?1")?
            .execute([id.as_str()])?;
        Ok(purged as u64)
    }

    /// Removes the expired messages of a device.
    pub fn expire(&self, id: &DeviceId, now: Timestamp) -> Result<(), HubFailure> {
        let sql = "DELETE FROM message WHERE device = ?1 AND expires_at <= ?2";
        self.connection.prepare_cached(sql)?.execute(params![id.as_str(), now.ticks()])?;
        Ok(())
    }

    /// Returns how many messages are queued for a device.
    pub fn waiting(&self, id: &DeviceId) -> Result<u64, HubFailure> {
        let sql = "SELECT count(*) FROM message WHERE device = ?1";
        let number: i64 = self.connection.prepare_cached(sql)?.query_row([id.as_str()], |row| row.get(0))?;
        Ok(number.unsigned_abs())
    }
}

mod base64_text {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
