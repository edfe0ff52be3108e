//! The maximum length of a client's certificate chain. The TLS handshake refuses a longer one, and so does attestation, so that no
//! explanation admits a device that cannot connect.

/// A client's chain is longer than the TLS handshake accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the TLS handshake refuses the client's chain: it has {certificates} certificates of {bytes} bytes together; {} of {} \
     bytes are taken",
    ChainTooLong::MAX_CERTIFICATES,
    ChainTooLong::MAX_CHAIN_BYTES
)]
pub struct ChainTooLong {
    /// The number of certificates.
    pub certificates: usize,
    /// The length of all certificates, in bytes of DER.
    pub bytes: usize,
}

impl ChainTooLong {
    /// The most certificates in a client's chain; SDKs send one to four.
    pub const MAX_CERTIFICATES: usize = 10;

    /// The most bytes of all certificates: a connection holds its chain twice before it has proved anything, and TLS itself would
    /// allow 64 KB. Embedded TLS stacks, whose handshake messages are one record, cannot send more; ten certificates with keys
    /// of RSA 2048 or any curve stay under it.
    pub const MAX_CHAIN_BYTES: usize = 16 * 1024;

    /// Returns the size of a chain if it is too long, given the lengths of its certificates in DER.
    pub fn of(lengths: impl IntoIterator<Item = usize>) -> Option<ChainTooLong> {
        let (certificates, bytes) = lengths
            .into_iter()
            .fold((0, 0_usize), |(count, bytes), length| (count + 1, bytes.saturating_add(length)));
        let is_too_long = certificates > Self::MAX_CERTIFICATES || bytes > Self::MAX_CHAIN_BYTES;
        is_too_long.then_some(ChainTooLong { certificates, bytes })
    }
}
