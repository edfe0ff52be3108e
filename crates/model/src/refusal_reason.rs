//! The reasons why attempts to register are refused.

use serde::{Deserialize, Serialize};

/// Defines the reasons with their names, so that none can lack one.
macro_rules! reasons {
    ($($(#[$text:meta])* $reason:ident = $name:literal,)*) => {
        /// The reason why an attempt to register was refused, by which operators search. The text beside it has the details.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum RefusalReason {
            $($(#[$text])* #[serde(rename = $name)] $reason,)*
        }

        impl RefusalReason {
            /// All reasons.
            pub const ALL: &[RefusalReason] = &[$(RefusalReason::$reason),*];

            /// Returns the name, which is also the stored form.
            pub const fn name(self) -> &'static str {
                match self {
                    $(RefusalReason::$reason => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// No enrollment fits the device.
    NoEnrollment = "noEnrollment",
    /// The device addresses another instance.
    OtherScope = "otherScope",
    /// The enrollment wants a SAS token, and the device sent none.
    NoToken = "noToken",
    /// The enrollment wants a client certificate, and the device sent none.
    NoCertificate = "noCertificate",
    /// The device sent no credentials.
    NoEvidence = "noEvidence",
    /// The SAS token has expired.
    TokenExpired = "tokenExpired",
    /// The SAS token is for another resource.
    OtherResource = "otherResource",
    /// The SAS token was signed with another key.
    WrongKey = "wrongKey",
    /// The SAS token is malformed.
    MalformedToken = "malformedToken",
    /// The client certificate is not an enrolled one.
    OtherCertificate = "otherCertificate",
    /// The certificate is named for another device.
    OtherName = "otherName",
    /// A certificate has expired.
    CertificateExpired = "certificateExpired",
    /// A certificate is not valid yet.
    CertificateNotYetValid = "certificateNotYetValid",
    /// The issuer of a certificate was neither sent nor stored.
    UnknownIssuer = "unknownIssuer",
    /// A certificate breaks another rule, or cannot be read.
    BadCertificate = "badCertificate",
    /// The certificate chain has too many certificates or bytes.
    ChainTooLong = "chainTooLong",
    /// A certificate is blocked.
    Blocked = "blocked",
    /// A certificate was revoked by its CA.
    Revoked = "revoked",
    /// No fresh revocation list covers a certificate.
    NoFreshRevocationList = "noFreshRevocationList",
    /// A CA certificate is not verified.
    UnverifiedCa = "unverifiedCa",
    /// The CA certificate that an enrollment names was deleted.
    DeletedCa = "deletedCa",
    /// The certificates do not lead to those of the group.
    NoPathToGroup = "noPathToGroup",
    /// The group is for other registration IDs.
    OtherIds = "otherIds",
    /// The device is registered through another group, which does not admit it.
    RegisteredElsewhere = "registeredElsewhere",
    /// The group that the device is registered through admits it, too.
    KeptByOwnGroup = "keptByOwnGroup",
    /// Another group's certificate is nearer to the leaf.
    NotNearest = "notNearest",
    /// The enrollment wants a TPM, and the device named none.
    NoTpm = "noTpm",
    /// The endorsement key is not the enrolled one.
    OtherTpm = "otherTpm",
    /// The storage root key is not the one of before.
    ClearedTpm = "clearedTpm",
    /// The storage root key is neither known nor sent.
    NoStorageRootKey = "noStorageRootKey",
    /// No challenge to the TPM is open.
    NoOpenChallenge = "noOpenChallenge",
    /// The proof by the TPM was used before.
    UsedChallenge = "usedChallenge",
    /// The instance does not admit the address of the device.
    IpFilter = "ipFilter",
    /// The instance has as many registrations as its quota permits.
    Quota = "quota",
    /// A limit of connections was reached, or the connection was idle for too long.
    ConnectionLimit = "connectionLimit",
    /// The TLS handshake failed.
    Handshake = "handshake",
    /// The MQTT or AMQP login was refused.
    Login = "login",
    /// The client broke its protocol, or was too slow.
    Protocol = "protocol",
    /// The request is malformed.
    BadRequest = "badRequest",
}

impl RefusalReason {
    /// Returns the reason with this name, without regard to case.
    pub fn from_name(name: &str) -> Option<RefusalReason> {
        Self::ALL.iter().copied().find(|reason| reason.name().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The names are stored.
    #[test]
    fn every_reason_is_found_by_its_name_and_stored_by_it() {
        let mut names = HashSet::new();
        for reason in RefusalReason::ALL {
            assert_eq!(RefusalReason::from_name(&reason.name().to_uppercase()), Some(*reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
            assert!(names.insert(reason.name()), "{reason:?}");
        }
        assert_eq!(RefusalReason::from_name("none"), None);
    }
}
