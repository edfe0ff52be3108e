//! Reading a public area. All numbers are big-endian.

use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, UnparsedPublicKey};

use super::{TpmKeyError, TpmPublicKey};

/// TPM_ALG_SHA256.
pub(super) const SHA256: u16 = 0x000B;

const TPM_ALG_RSA: u16 = 0x0001;
const TPM_ALG_AES: u16 = 0x0006;
const TPM_ALG_NULL: u16 = 0x0010;
const TPM_ALG_ECC: u16 = 0x0023;
const TPM_ALG_CFB: u16 = 0x0043;
const TPM_ECC_NIST_P256: u16 = 0x0003;

/// fixedTPM, fixedParent, sensitiveDataOrigin, restricted, decrypt (part 2, 8.3).
const NEEDED_ATTRIBUTES: u32 = 0x0003_0032;
/// sign.
const FORBIDDEN_ATTRIBUTES: u32 = 0x0004_0000;

const RSA_BITS: u16 = 2048;
/// An exponent of 0 stands for 65537.
const RSA_EXPONENTS: [u32; 2] = [0, 65537];
const P256_BYTES: usize = 32;

/// The key in a TPM2B_PUBLIC.
pub(super) fn public_key(bytes: &[u8]) -> Result<TpmPublicKey, TpmKeyError> {
    let mut whole = Reader(bytes);
    let mut area = Reader(whole.sized()?);
    whole.end()?;
    let kind = area.u16()?;
    if kind != TPM_ALG_RSA && kind != TPM_ALG_ECC {
        return Err(TpmKeyError::Kind(kind));
    }
    head(&mut area)?;
    let key = if kind == TPM_ALG_RSA { rsa(&mut area)? } else { ecc(&mut area)? };
    area.end()?;
    Ok(key)
}

/// What is the same for every kind: name algorithm, attributes, policy, the cipher for children, no scheme.
fn head(area: &mut Reader<'_>) -> Result<(), TpmKeyError> {
    let name_algorithm = area.u16()?;
    if name_algorithm != SHA256 {
        return Err(TpmKeyError::NameAlgorithm(name_algorithm));
    }
    let attributes = area.u32()?;
    if attributes & NEEDED_ATTRIBUTES != NEEDED_ATTRIBUTES || attributes & FORBIDDEN_ATTRIBUTES != 0 {
        return Err(TpmKeyError::Attributes(attributes));
    }
    area.sized()?;
    if (area.u16()?, area.u16()?, area.u16()?) != (TPM_ALG_AES, 128, TPM_ALG_CFB) {
        return Err(TpmKeyError::Cipher);
    }
    area.no_scheme()
}

/// TPMS_RSA_PARMS after its scheme, then the modulus.
fn rsa(area: &mut Reader<'_>) -> Result<TpmPublicKey, TpmKeyError> {
    let bits = area.u16()?;
    if bits != RSA_BITS {
        return Err(TpmKeyError::RsaBits(bits));
    }
    let exponent = area.u32()?;
    let modulus: &[u8; 256] = area.sized()?.try_into().map_err(|_| TpmKeyError::RsaKey)?;
    let [first, .., last] = modulus;
    if !RSA_EXPONENTS.contains(&exponent) || first & 0x80 == 0 || last & 1 == 0 {
        return Err(TpmKeyError::RsaKey);
    }
    Ok(TpmPublicKey::Rsa(Box::new(*modulus)))
}

/// TPMS_ECC_PARMS after its scheme, then the point.
fn ecc(area: &mut Reader<'_>) -> Result<TpmPublicKey, TpmKeyError> {
    let curve = area.u16()?;
    if curve != TPM_ECC_NIST_P256 {
        return Err(TpmKeyError::Curve(curve));
    }
    area.no_scheme()?;
    let mut point = Box::new([0; 1 + 2 * P256_BYTES]);
    let [form, coordinates @ ..] = &mut *point;
    *form = 4;
    for half in coordinates.chunks_exact_mut(P256_BYTES) {
        // A coordinate may come without its leading zeros.
        let coordinate = area.sized()?;
        let zeros = P256_BYTES.checked_sub(coordinate.len()).ok_or(TpmKeyError::Point)?;
        half.iter_mut().skip(zeros).zip(coordinate).for_each(|(to, from)| *to = *from);
    }
    ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, &point[..]))
        .map_err(|_| TpmKeyError::Point)?;
    Ok(TpmPublicKey::P256(point))
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmKeyError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(TpmKeyError::NotPublic)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u16(&mut self) -> Result<u16, TpmKeyError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, TpmKeyError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A `TPM2B`: its size, then as many bytes.
    fn sized(&mut self) -> Result<&'a [u8], TpmKeyError> {
        let size = self.u16()?.into();
        let (bytes, rest) = self.0.split_at_checked(size).ok_or(TpmKeyError::NotPublic)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn no_scheme(&mut self) -> Result<(), TpmKeyError> {
        if self.u16()? == TPM_ALG_NULL { Ok(()) } else { Err(TpmKeyError::Scheme) }
    }

    fn end(&self) -> Result<(), TpmKeyError> {
        if self.0.is_empty() { Ok(()) } else { Err(TpmKeyError::NotPublic) }
    }
}
