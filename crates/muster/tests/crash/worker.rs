//! One of those who register devices without pause, new ones and old ones, and remember what they were told.

use std::time::Duration;

use fleet::{Device, Endpoint, RegisterError, Transport, register};
use model::{DeviceId, HubName};
use tokio_util::sync::CancellationToken;

use crate::{
    random::Random,
    scene::{INDIVIDUALS, Kind, Scene, name},
};

/// Registers its own devices, one at a time.
pub struct Worker {
    pub number: usize,
    pub entries: Vec<Entry>,
    random: Random,
    scene: Scene,
}

/// A device, and what it has seen.
#[derive(Debug)]
pub struct Entry {
    pub device: Device,
    pub kind: Kind,
    /// Times it asked to be registered.
    pub attempts: u64,
    /// Times it was told where it belongs.
    pub acknowledged: u64,
    /// Where it belongs, once it was told or somebody saw it.
    pub place: Option<Place>,
}

/// A hub, and the device's name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub hub: HubName,
    pub device_id: DeviceId,
}

/// A pause after a failure, so that a dead server is not asked too often.
const PAUSE: Duration = Duration::from_millis(10);

impl Worker {
    pub fn new(number: usize, random: Random, scene: Scene) -> Worker {
        Worker { number, entries: Vec::new(), random, scene }
    }

    /// Registers devices until it is told to stop.
    pub async fn run(mut self, endpoint: Endpoint, stop: CancellationToken) -> Worker {
        while !stop.is_cancelled() {
            let chosen = self.choose();
            let transport = if self.random.below(2) == 0 { Transport::Https } else { Transport::Mqtt };
            let Some(entry) = self.entries.get_mut(chosen) else { continue };
            entry.attempts += 1;
            tokio::select! {
                biased;
                result = register(&endpoint, &entry.device, transport, None) => match result {
                    Ok(told) => entry.note(Place { hub: told.hub, device_id: told.device_id }),
                    // The server is gone; whether it heard the device nobody knows.
                    Err(RegisterError::Transport(_)) => tokio::time::sleep(PAUSE).await,
                    Err(error) => panic!("{}: {error}", entry.device.registration_id),
                },
                () = stop.cancelled() => {}
            }
        }
        self
    }

    /// A device of its own: for the smaller part one that has asked before, whatever came of it.
    fn choose(&mut self) -> usize {
        if !self.entries.is_empty() && self.random.below(10) < 4 {
            return self.random.below(self.entries.len() as u64) as usize;
        }
        let individuals = self.entries.iter().filter(|entry| entry.kind == Kind::Individual).count();
        let kind = match self.random.below(10) {
            0..3 => Kind::CertificateGroup,
            3..5 if individuals < INDIVIDUALS => Kind::Individual,
            _ => Kind::KeyGroup,
        };
        let count = self.entries.iter().filter(|entry| entry.kind == kind).count();
        let device = self.scene.device(kind, &name(kind, self.number, count));
        self.entries.push(Entry { device, kind, attempts: 0, acknowledged: 0, place: None });
        self.entries.len() - 1
    }
}

impl Entry {
    /// The device was told its place.
    fn note(&mut self, place: Place) {
        self.acknowledged += 1;
        self.found_at(place);
    }

    /// The device is here, as it was ever since it was first seen.
    pub fn found_at(&mut self, place: Place) {
        let id = &self.device.registration_id;
        assert_eq!(self.place.get_or_insert_with(|| place.clone()), &place, "{id} has moved");
    }
}
