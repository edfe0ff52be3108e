//! The configuration of a node (`muster serve`) that links the hubs of another process.

use std::{net::TcpListener, path::Path};

use crate::server_certificate::{CERTIFICATE_FILE, KEY_FILE};

/// The ID scope of the instance of a node.
pub const ID_SCOPE: &str = "0neAAAAAAAA";

/// The keys of the operator `owner`.
pub const KEY: &str = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=";

/// The file of the key that documents are sealed with, beside the configuration.
pub const MASTER_KEY_FILE: &str = "master.key";

/// The ports of the listeners of a node, or of the load balancer before it.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// The port of HTTPS.
    pub https: u16,
    /// The port of MQTT over TLS.
    pub mqtts: u16,
    /// The port of AMQP over TLS.
    pub amqps: u16,
}

impl Ports {
    /// Returns ports of the loopback address that nothing listens on now.
    pub fn free() -> Ports {
        let listeners = [(); 3].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let [https, mqtts, amqps] = listeners.map(|listener| listener.local_addr().unwrap().port());
        Ports { https, mqtts, amqps }
    }
}

/// Returns the configuration of the node with this number, whose certificate and master key are in this folder and whose store
/// is the embedded one if there is no URL. The last lines are [links](link) of its instance.
pub fn configuration(folder: &Path, number: usize, ports: Ports, store: Option<&str>, links: &str) -> String {
    let (folder, Ports { https, mqtts, amqps }) = (folder.display(), ports);
    let store = store.map(|url| format!("store = {url:?}\n")).unwrap_or_default();
    format!(
        "data_dir = \"{folder}/node-{number}\"\nmaster_key_file = \"{folder}/{MASTER_KEY_FILE}\"\n{store}\
         [listen]\nhttps = \"127.0.0.1:{https}\"\nmqtts = \"127.0.0.1:{mqtts}\"\namqps = \"127.0.0.1:{amqps}\"\n\
         [[tls]]\ncertificate = \"{folder}/{CERTIFICATE_FILE}\"\nkey = \"{folder}/{KEY_FILE}\"\n\
         [[instance]]\nname = \"plant\"\nid_scope = \"{ID_SCOPE}\"\nservice_hosts = [\"127.0.0.1\"]\n\
         require_verified_ca = false\n\
         [[instance.access_policy]]\nname = \"owner\"\nprimary_key = {KEY:?}\nsecondary_key = {KEY:?}\n\
         rights = \"ServiceConfig, EnrollmentWrite, RegistrationStatusWrite\"\n{links}"
    )
}

/// Returns the lines of a configuration that link a hub whose certificate is of the CA in this file.
pub fn link(connection_string: &str, ca: &Path) -> String {
    format!("[[instance.linked_hub]]\nconnection_string = {connection_string:?}\nca = {ca:?}\n")
}
