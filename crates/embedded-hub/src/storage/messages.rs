//! Rows of messages that wait for devices.

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
    /// The application's own properties.
    #[serde(rename = "a")]
    pub application: Vec<(String, String)>,
    /// Its content.
    #[serde(rename = "b", with = "base64_text")]
    pub body: Vec<u8>,
}

/// How long a message is in the queue.
#[derive(Debug, Clone, Copy)]
pub struct Stay {
    /// Since when.
    pub enqueued_at: Timestamp,
    /// Until when, if its device does not take it before.
    pub expires_at: Timestamp,
}

/// A message in its place in the queue.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Grows with every message, never used twice.
    pub sequence: i64,
    /// How long it is there.
    pub stay: Stay,
    /// How often the device had it and did not take it.
    pub returns: u32,
    /// Whether the device may have got it before: it came back, or an earlier process may have sent it.
    pub may_repeat: bool,
    /// The message.
    pub message: StoredMessage,
}

impl Rows<'_> {
    /// Puts a message at the end of a device's queue, which may hold `limit`; `false` when it is full.
    pub fn enqueue(
        &self,
        id: &DeviceId,
        message: &StoredMessage,
        stay: Stay,
        limit: usize,
    ) -> Result<bool, HubFailure> {
        if self.waiting(id)? >= limit as u64 {
            return Ok(false);
        }
        let sealed = seal(self.sealer, Kind::Message, id.as_str(), message)?;
        let sql = "INSERT INTO message (device, enqueued_at, expires_at, document) VALUES (?1, ?2, ?3, ?4)";
        let row = params![id.as_str(), stay.enqueued_at.ticks(), stay.expires_at.ticks(), sealed];
        self.connection.prepare_cached(sql)?.execute(row)?;
        Ok(true)
    }

    /// The first messages of a device, at most `limit`, without those that have expired and those that `is_out`
    /// names by their sequence.
    pub fn messages(
        &self,
        id: &DeviceId,
        now: Timestamp,
        limit: usize,
        is_out: impl Fn(i64) -> bool,
    ) -> Result<Vec<Waiting>, HubFailure> {
        let sql = "SELECT sequence, enqueued_at, expires_at, returns, document FROM message \
                   WHERE device = ?1 AND expires_at > ?2 ORDER BY sequence";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![id.as_str(), now.ticks()])?;
        let mut waiting = Vec::new();
        while waiting.len() < limit
            && let Some(row) = rows.next()?
        {
            let sequence = row.get(0)?;
            if is_out(sequence) {
                continue;
            }
            let time = |column| Ok::<_, rusqlite::Error>(Timestamp::from_ticks(row.get(column)?));
            let sealed: Vec<u8> = row.get(4)?;
            let returns = row.get(3)?;
            waiting.push(Waiting {
                sequence,
                stay: Stay { enqueued_at: time(1)?, expires_at: time(2)? },
                returns,
                may_repeat: returns > 0 || sequence <= self.unaccounted,
                message: unseal(self.sealer, Kind::Message, id.as_str(), &sealed)?,
            });
        }
        Ok(waiting)
    }

    /// Removes a message that its device has taken, or will never take.
    pub fn remove_message(&self, id: &DeviceId, sequence: i64) -> Result<(), HubFailure> {
        let sql = "DELETE FROM message WHERE sequence = ?1 AND device = ?2";
        self.connection.prepare_cached(sql)?.execute(params![sequence, id.as_str()])?;
        Ok(())
    }

    /// Counts that a message came back, and removes it when that was the last time it may; `true` when it was.
    pub fn return_message(&self, id: &DeviceId, sequence: i64, most: u32) -> Result<bool, HubFailure> {
        let sql = "UPDATE message SET returns = returns + 1 WHERE sequence = ?1 AND device = ?2";
        self.connection.prepare_cached(sql)?.execute(params![sequence, id.as_str()])?;
        let sql = "DELETE FROM message WHERE sequence = ?1 AND device = ?2 AND returns >= ?3";
        Ok(self.connection.prepare_cached(sql)?.execute(params![sequence, id.as_str(), most])? == 1)
    }

    /// Removes all messages of a device and tells how many there were.
    pub fn purge(&self, id: &DeviceId) -> Result<u64, HubFailure> {
        let purged = self
            .connection
            .prepare_cached("DELETE FROM message WHERE device = ?1")?
            .execute([id.as_str()])?;
        Ok(purged as u64)
    }

    /// Removes what has expired, of one device.
    pub fn expire(&self, id: &DeviceId, now: Timestamp) -> Result<(), HubFailure> {
        let sql = "DELETE FROM message WHERE device = ?1 AND expires_at <= ?2";
        self.connection.prepare_cached(sql)?.execute(params![id.as_str(), now.ticks()])?;
        Ok(())
    }

    /// How many messages wait for a device.
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
