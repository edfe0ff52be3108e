//! What a client shows in a TLS handshake, also in one that fails.
//!
//! rustls gives its callbacks no connection, and a failed handshake leaves none behind. So the handshake's task has a place to
//! which the callbacks write.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

/// What a client has shown of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    /// The host name that it asked for (RFC 6066 §3).
    pub(crate) server_name: Option<Arc<str>>,
    /// Its certificates, leaf first. When the handshake refused them, the leaf alone.
    pub(crate) certificates: Arc<[CertificateDer<'static>]>,
}

tokio::task_local! {
    static SHOWN: RefCell<Shown>;
}

/// Runs a handshake, and returns what the client showed besides its outcome.
pub(crate) async fn observed<F: Future>(handshake: F) -> (F::Output, Shown) {
    let observed = async {
        let output = handshake.await;
        (output, SHOWN.with(RefCell::take))
    };
    SHOWN.scope(RefCell::default(), observed).await
}

/// Keeps the host name that the client asks for.
pub(super) fn note_server_name(name: Option<&str>) {
    // Without the place this is no handshake of a listener.
    let _ = SHOWN.try_with(|shown| shown.borrow_mut().server_name = name.map(Arc::from));
}

/// Keeps the leaf of a chain that is refused. One that is not, the connection has.
pub(super) fn note_refused_leaf(leaf: &CertificateDer<'_>) {
    let certificates = Arc::from([leaf.clone().into_owned()]);
    let _ = SHOWN.try_with(|shown| shown.borrow_mut().certificates = certificates);
}
