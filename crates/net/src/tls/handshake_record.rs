//! What a client presents in a TLS handshake, also in one that fails.
//!
//! rustls gives its callbacks no connection, and a failed handshake leaves none behind. So the callbacks write into a variable of
//! the handshake's task.

use std::{cell::RefCell, sync::Arc};

use rustls::pki_types::CertificateDer;

/// What a client presented in its handshake.
#[derive(Debug, Clone, Default)]
pub(crate) struct HandshakeRecord {
    /// The host name that it requested (RFC 6066 §3).
    pub(crate) server_name: Option<Arc<str>>,
    /// Its certificates, leaf first. When the handshake refused them, the leaf alone.
    pub(crate) certificates: Arc<[CertificateDer<'static>]>,
}

tokio::task_local! {
    static RECORD: RefCell<HandshakeRecord>;
}

/// Runs a handshake, and returns its outcome and what the client presented.
pub(crate) async fn observed<F: Future>(handshake: F) -> (F::Output, HandshakeRecord) {
    let observed = async {
        let output = handshake.await;
        (output, RECORD.with(RefCell::take))
    };
    RECORD.scope(RefCell::default(), observed).await
}

/// Keeps the host name that the client requests.
pub(super) fn note_server_name(name: Option<&str>) {
    // Not set if the handshake is not one of a listener.
    let _ = RECORD.try_with(|record| record.borrow_mut().server_name = name.map(Arc::from));
}

/// Keeps the leaf of a refused chain. Accepted chains are in the connection.
pub(super) fn note_refused_leaf(leaf: &CertificateDer<'_>) {
    let certificates = Arc::from([leaf.clone().into_owned()]);
    let _ = RECORD.try_with(|record| record.borrow_mut().certificates = certificates);
}
