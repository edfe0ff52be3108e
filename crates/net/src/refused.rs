//! Why connections, logins and requests are refused below the services: by reason.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use rustls::{CertificateError, PeerIncompatible};

use crate::{proxy::ProxyError, tls::ChainRefusal};

/// Why a connection, login or request is refused before a service has judged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address has too many unproven connections, none of which was refused.
    #[error("the address has too many unproven connections")]
    AddressLimit,
    /// No permit is free, and no connection may be evicted for this one.
    #[error("the connection limit is reached")]
    NoPermit,
    /// It was evicted for a new connection.
    #[error("evicted for a new connection")]
    Evicted,
    /// No request of it was accepted in time.
    #[error("no request was accepted in time")]
    Unproven,
    /// A proxy sent no PROXY header, or one that cannot be read.
    #[error("no PROXY header, or a malformed one")]
    ProxyHeader,
    /// The handshake took too long.
    #[error("the handshake took too long")]
    HandshakeTimeout,
    /// The client left during the handshake.
    #[error("the client left during the handshake")]
    Left,
    /// The client ended the handshake with an alert, for example because it does not trust the server's CA.
    #[error("the client ended the handshake")]
    ClientAlert,
    /// The bytes are not a TLS handshake, or break its rules.
    #[error("not a TLS handshake")]
    NotTls,
    /// Client and server have no TLS version in common.
    #[error("no TLS version in common")]
    NoCommonVersion,
    /// Client and server have no cipher suite, or no group for the key exchange, in common.
    #[error("no cipher suite or group in common")]
    NoCommonSuite,
    /// The client accepts no signature that the server's certificates can make, or the server none of the client's.
    #[error("no signature scheme in common")]
    NoCommonSignature,
    /// The client's certificate chain has too many certificates or bytes.
    #[error("the client's certificate chain is too long")]
    ChainTooLong,
    /// The client's key is too short.
    #[error("the client's key is too weak")]
    WeakKey,
    /// The client's certificate cannot be read.
    #[error("the client's certificate cannot be read")]
    BadCertificate,
    /// The client did not prove that it holds the key of its certificate.
    #[error("the client did not prove that it holds its key")]
    BadSignature,
    /// No CONNECT, or no complete AMQP login, came in time.
    #[error("no login in time")]
    LoginTimeout,
    /// The login cannot be judged: a CONNECT or a SASL exchange without or with malformed credentials.
    #[error("the login was refused")]
    Login,
    /// A packet, frame or request breaks its protocol, or the rules of the service.
    #[error("a protocol violation")]
    Protocol,
    /// The rest of a packet, frame, message, header or body did not come in time.
    #[error("the rest of a packet did not come in time")]
    PacketTimeout,
    /// An unproven client sent a larger message than it may.
    #[error("more than an unproven client may send")]
    TooLarge,
    /// An HTTP request is ambiguous, or an invalid WebSocket handshake.
    #[error("an ambiguous or invalid HTTP request")]
    BadRequest,
}

impl Refused {
    /// All reasons.
    pub const ALL: [Refused; 22] = [
        Refused::AddressLimit,
        Refused::NoPermit,
        Refused::Evicted,
        Refused::Unproven,
        Refused::ProxyHeader,
        Refused::HandshakeTimeout,
        Refused::Left,
        Refused::ClientAlert,
        Refused::NotTls,
        Refused::NoCommonVersion,
        Refused::NoCommonSuite,
        Refused::NoCommonSignature,
        Refused::ChainTooLong,
        Refused::WeakKey,
        Refused::BadCertificate,
        Refused::BadSignature,
        Refused::LoginTimeout,
        Refused::Login,
        Refused::Protocol,
        Refused::PacketTimeout,
        Refused::TooLarge,
        Refused::BadRequest,
    ];

    /// Returns its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Refused::AddressLimit => "address-limit",
            Refused::NoPermit => "no-place",
            Refused::Evicted => "evicted",
            Refused::Unproven => "unproven",
            Refused::ProxyHeader => "proxy-header",
            Refused::HandshakeTimeout => "handshake-timeout",
            Refused::Left => "left",
            Refused::ClientAlert => "client-alert",
            Refused::NotTls => "not-tls",
            Refused::NoCommonVersion => "no-common-version",
            Refused::NoCommonSuite => "no-common-suite",
            Refused::NoCommonSignature => "no-common-signature",
            Refused::ChainTooLong => "chain-too-long",
            Refused::WeakKey => "weak-key",
            Refused::BadCertificate => "bad-certificate",
            Refused::BadSignature => "bad-signature",
            Refused::LoginTimeout => "login-timeout",
            Refused::Login => "login",
            Refused::Protocol => "protocol",
            Refused::PacketTimeout => "packet-timeout",
            Refused::TooLarge => "too-large",
            Refused::BadRequest => "bad-request",
        }
    }

    /// Returns the reason of an error before or during the handshake.
    pub(crate) fn of(error: &io::Error) -> Refused {
        let Some(inner) = error.get_ref() else { return Refused::Left };
        if let Some(reason) = inner.downcast_ref::<Refused>() {
            *reason
        } else if inner.is::<ProxyError>() {
            Refused::ProxyHeader
        } else if inner.is::<HandshakeTooLong>() {
            Refused::ChainTooLong
        } else if let Some(error) = inner.downcast_ref::<rustls::Error>() {
            Refused::of_tls(error)
        } else {
            Refused::Left
        }
    }

    fn of_tls(error: &rustls::Error) -> Refused {
        match error {
            rustls::Error::AlertReceived(_) => Refused::ClientAlert,
            rustls::Error::PeerIncompatible(reason) => Refused::of_incompatible(reason),
            rustls::Error::InvalidCertificate(CertificateError::BadSignature) => Refused::BadSignature,
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<ChainRefusal>() {
                    Some(ChainRefusal::TooLong(_)) => Refused::ChainTooLong,
                    Some(ChainRefusal::WeakKey { .. }) => Refused::WeakKey,
                    None => Refused::BadCertificate,
                }
            }
            rustls::Error::InvalidCertificate(_) => Refused::BadCertificate,
            _ => Refused::NotTls,
        }
    }

    fn of_incompatible(reason: &PeerIncompatible) -> Refused {
        match reason {
            PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => Refused::NoCommonSignature,
            // Only clients of TLS 1.1 and older name no signature algorithms.
            PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic => Refused::NoCommonVersion,
            _ => Refused::NoCommonSuite,
        }
    }
}

/// The client sent more for its handshake than it may.
#[derive(Debug, thiserror::Error)]
#[error("the client sent too much for a handshake")]
pub(crate) struct HandshakeTooLong;

/// Counts refused connections by reason.
#[derive(Debug, Default)]
pub(crate) struct RefusedCounts([AtomicU64; Refused::ALL.len()]);

impl RefusedCounts {
    pub(crate) fn count(&self, reason: Refused) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, reason: Refused) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_index_and_name() {
        let names: std::collections::HashSet<_> = Refused::ALL.map(Refused::name).into_iter().collect();
        assert_eq!(names.len(), Refused::ALL.len());
        for (index, reason) in Refused::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
