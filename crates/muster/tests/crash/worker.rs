//! A worker that registers new and known devices continuously, and records the replies.

use std::time::{Duration, Instant};

use fleet::{Device, Endpoint, RegisterError, Transport, register};
use model::{DeviceId, HubName};
use tokio_util::sync::CancellationToken;

use crate::{
    random::Random,
    scene::{INDIVIDUALS, Kind, Scene, name},
};

/// The pause after a failure, which limits the requests to a dead server.
const PAUSE: Duration = Duration::from_millis(10);

/// The pause of a device whose service is unavailable.
const UNAVAILABLE_PAUSE: Duration = Duration::from_millis(500);

/// Registers its own devices, one at a time.
pub struct Worker {
    pub number: usize,
    pub entries: Vec<Entry>,
    /// The times of replies that the service is unavailable.
    pub unavailable: Vec<Instant>,
    /// The longest time from a request to its acknowledgment.
    pub longest_wait: Duration,
    random: Random,
    scene: Scene,
}

/// A device, and the replies that it got.
#[derive(Debug)]
pub struct Entry {
    pub device: Device,
    pub kind: Kind,
    /// The number of register calls.
    pub attempts: u64,
    /// The number of replies `assigned`.
    pub acknowledged: u64,
    /// Its assignment, once a reply or an inspection named it.
    pub assignment: Option<Assignment>,
}

/// A hub, and the device ID there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub hub: HubName,
    pub device_id: DeviceId,
}

impl Worker {
    pub fn new(number: usize, random: Random, scene: Scene) -> Worker {
        Worker {
            number,
            entries: Vec::new(),
            unavailable: Vec::new(),
            longest_wait: Duration::ZERO,
            random,
            scene,
        }
    }

    /// Registers devices until the token is canceled.
    pub async fn run(mut self, endpoint: Endpoint, stop: CancellationToken) -> Worker {
        while !stop.is_cancelled() {
            let chosen = self.choose();
            let transport = if self.random.below(2) == 0 { Transport::Https } else { Transport::Mqtt };
            let Some(entry) = self.entries.get_mut(chosen) else { continue };
            entry.attempts += 1;
            let asked = Instant::now();
            tokio::select! {
                biased;
                result = register(&endpoint, &entry.device, transport, None) => match result {
                    Ok(reply) => {
                        self.longest_wait = self.longest_wait.max(asked.elapsed());
                        entry.acknowledge(Assignment { hub: reply.hub, device_id: reply.device_id });
                    }
                    // The server is gone; it may have executed the request.
                    Err(RegisterError::Transport(_)) => tokio::time::sleep(PAUSE).await,
                    Err(RegisterError::Refused(refusal)) if refusal.status == 503 => {
                        self.unavailable.push(Instant::now());
                        tokio::time::sleep(UNAVAILABLE_PAUSE).await;
                    }
                    Err(error) => panic!("{}: {error}", entry.device.registration_id),
                },
                () = stop.cancelled() => {}
            }
        }
        self
    }

    /// Chooses one of its devices; in four of ten cases a known one.
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
        self.entries.push(Entry { device, kind, attempts: 0, acknowledged: 0, assignment: None });
        self.entries.len() - 1
    }
}

impl Entry {
    /// Records a reply `assigned`.
    fn acknowledge(&mut self, assignment: Assignment) {
        self.acknowledged += 1;
        self.check_assignment(assignment);
    }

    /// Checks that the device is at this assignment, and was since it was first seen.
    pub fn check_assignment(&mut self, assignment: Assignment) {
        let id = &self.device.registration_id;
        assert_eq!(self.assignment.get_or_insert_with(|| assignment.clone()), &assignment, "{id} has moved");
    }
}
