//! Rows of messages that wait for devices.

use model::{DeviceId, Timestamp};
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::failure::HubFailure;

use super::{Kind, Rows, seal, unseal};

/// A cloud-to-device message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// Its properties, system ones with their `$.` first.
    #[serde(rename = "p")]
    pub properties: Vec<(String, String)>,
    /// Its content.
    #[serde(rename = "b", with = "base64_text")]
    pub body: Vec<u8>,
}

/// A message with its place in the queue.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Grows with every message, never used twice.
    pub sequence: i64,
    /// The message.
    pub message: StoredMessage,
}

impl Rows<'_> {
    /// Puts a message at the end of a device's queue, which may hold `limit`; `false` when it is full.
    pub fn enqueue(
        &self,
        id: &DeviceId,
        message: &StoredMessage,
        expires_at: Timestamp,
        limit: u64,
    ) -> Result<bool, HubFailure> {
        if self.waiting(id)? >= limit {
            return Ok(false);
        }
        let sealed = seal(self.sealer, Kind::Message, id.as_str(), message)?;
        let sql = "INSERT INTO message (device, expires_at, document) VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(sql)?.execute(params![id.as_str(), expires_at.ticks(), sealed])?;
        Ok(true)
    }

    /// The messages of a device that follow `after`, at most `limit`, those that have expired left out.
    pub fn messages_after(
        &self,
        id: &DeviceId,
        after: i64,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Waiting>, HubFailure> {
        let sql = "SELECT sequence, document FROM message \
                   WHERE device = ?1 AND sequence > ?2 AND expires_at > ?3 ORDER BY sequence LIMIT ?4";
        let mut statement = self.connection.prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![id.as_str(), after, now.ticks(), limit], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        })?;
        let waiting = rows.map(|row| {
            let (sequence, sealed) = row?;
            Ok(Waiting { sequence, message: unseal(self.sealer, Kind::Message, id.as_str(), &sealed)? })
        });
        waiting.collect()
    }

    /// Removes a message that its device has received.
    pub fn remove_message(&self, id: &DeviceId, sequence: i64) -> Result<(), HubFailure> {
        let sql = "DELETE FROM message WHERE sequence = ?1 AND device = ?2";
        self.connection.prepare_cached(sql)?.execute(params![sequence, id.as_str()])?;
        Ok(())
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
