//! Files of earlier releases, migrated to the current tables.

use std::path::Path;

use durable::Sealer;
use embedded_hub::{Hub, HubConfig};
use model::{DeviceId, HubName, Timestamp};

#[tokio::test]
async fn a_file_of_version_1_keeps_its_devices() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/fixtures/v1/data");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hub1.db");
    std::fs::copy(fixture.join("hubs/hub1.db"), &path).unwrap();
    let sealer = Sealer::load_or_create(&fixture.join("master.key")).unwrap();
    let config = || HubConfig {
        host_name: HubName::parse("hub1.plant.example").unwrap(),
        aliases: Vec::new(),
        path: path.clone(),
        policies: Vec::new(),
    };
    for opened in ["migrated", "opened again"] {
        let hub = Hub::open(config(), sealer.clone(), || Timestamp::from_unix_seconds(0)).unwrap();
        for id in ["keyed-1", "keyed-2", "own-leaf", "yard-1"] {
            let id = DeviceId::parse(id).unwrap();
            assert!(hub.device(&id).unwrap().is_some(), "{opened}: {id}");
            assert_eq!(hub.twin(&id).unwrap().unwrap().model_id, "", "{opened}: {id}");
        }
    }
}
