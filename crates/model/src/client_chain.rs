//! How long a client's certificate chain may be: what the TLS handshake refuses, and what a judgement of the same chain must
//! say, so that no explanation admits a device that cannot connect.

/// A client's chain is longer than the TLS handshake takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the TLS handshake refuses the client's chain: it has {certificates} certificates of {bytes} bytes together; {} of {} \
     bytes are taken",
    ChainTooLong::MAX_CERTIFICATES,
    ChainTooLong::MAX_CHAIN_BYTES
)]
pub struct ChainTooLong {
    /// How many certificates it has.
    pub certificates: usize,
    /// Their bytes in DER.
    pub bytes: usize,
}

impl ChainTooLong {
    /// Certificates in a client's chain; SDKs send one to four.
    pub const MAX_CERTIFICATES: usize = 10;

    /// Bytes of them all: a connection keeps its chain twice before it has proved anything, and TLS itself would let it have
    /// 64 KB. It is what embedded TLS stacks can send at all, whose handshake messages are one record; ten certificates
    /// with keys of RSA 2048 or any curve stay under it.
    pub const MAX_CHAIN_BYTES: usize = 16 * 1024;

    /// Refuses a chain that is too long, given the lengths of its certificates in DER.
    pub fn check(lengths: impl IntoIterator<Item = usize>) -> Result<(), ChainTooLong> {
        let (certificates, bytes) = lengths
            .into_iter()
            .fold((0, 0_usize), |(count, bytes), length| (count + 1, bytes.saturating_add(length)));
        if certificates > Self::MAX_CERTIFICATES || bytes > Self::MAX_CHAIN_BYTES {
            return Err(ChainTooLong { certificates, bytes });
        }
        Ok(())
    }
}
