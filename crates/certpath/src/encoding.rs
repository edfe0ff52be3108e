//! The one reader of certificates, revocation lists and private keys in the encodings in which files, bodies and
//! distribution points hold them: PEM, DER, and base64 of either.
//!
//! PEM is split into its sections by a library. Which sections count is decided only here, so that all callers read the same
//! documents.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::der::{self, SEQUENCE};

const BEGIN: &[u8] = b"-----BEGIN ";
const TRUSTED_CERTIFICATE: &str = "TRUSTED CERTIFICATE";

/// The kind of object to read from a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// X.509 certificates.
    Certificate,
    /// Certificate revocation lists.
    RevocationList,
    /// Private keys that are not encrypted: PKCS #8, PKCS #1 or SEC 1.
    PrivateKey,
}

/// Why a document holds no object of the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// Its encoding is unknown.
    #[error("neither PEM, nor DER, nor base64 of either")]
    NotEncoded,
    /// A section of PEM is damaged.
    #[error("the PEM is damaged: {0}")]
    Damaged(String),
    /// It holds other objects, and none of the kind.
    #[error("there is no {wanted} in the PEM, only {found}")]
    Missing {
        /// The label of the kind.
        wanted: &'static str,
        /// The labels in the document.
        found: String,
    },
    /// The key needs a password.
    #[error("the private key is encrypted: decrypt it first, for example with `openssl pkey`")]
    Encrypted,
}

impl Object {
    /// Returns its label in PEM (RFC 7468).
    fn label(self) -> &'static str {
        match self {
            Object::Certificate => "CERTIFICATE",
            Object::RevocationList => "X509 CRL",
            Object::PrivateKey => "PRIVATE KEY",
        }
    }

    /// Returns whether a PEM section with this label holds it. OpenSSL reads more labels than that of RFC 7468.
    fn has_label(self, label: &str) -> bool {
        let others: &[&str] = match self {
            Object::Certificate => &["X509 CERTIFICATE", TRUSTED_CERTIFICATE],
            Object::RevocationList => &[],
            Object::PrivateKey => &["EC PRIVATE KEY", "RSA PRIVATE KEY"],
        };
        label == self.label() || others.contains(&label)
    }
}

/// Reads the DER of every object of one kind in a document, in order; at least one. In PEM, text around the sections and sections
/// with other labels are skipped.
pub fn read_objects(document: &[u8], object: Object) -> Result<Vec<Vec<u8>>, EncodingError> {
    let document = without_bom(document);
    if let Some(objects) = of_der_or_pem(document, object) {
        return objects;
    }
    let compact: Vec<u8> = document.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let decoded = STANDARD.decode(compact).map_err(|_| EncodingError::NotEncoded)?;
    of_der_or_pem(without_bom(&decoded), object).unwrap_or(Err(EncodingError::NotEncoded))
}

/// Reads the DER of the first object of one kind in a document.
pub fn read_object(document: &[u8], object: Object) -> Result<Vec<u8>, EncodingError> {
    let objects = read_objects(document, object)?;
    objects.into_iter().next().ok_or(EncodingError::NotEncoded)
}

/// Writes an object as PEM (RFC 7468), 64 characters a line.
pub fn write_pem(object: Object, der: &[u8]) -> String {
    let label = object.label();
    let base64 = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for at in (0..base64.len()).step_by(64) {
        text += base64.get(at..base64.len().min(at + 64)).unwrap_or_default();
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// Returns a document without the byte order mark that editors on Windows write.
fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}

fn of_der_or_pem(document: &[u8], object: Object) -> Option<Result<Vec<Vec<u8>>, EncodingError>> {
    if is_der(document) {
        return Some(Ok(vec![document.to_vec()]));
    }
    let sections = document.windows(BEGIN.len()).filter(|part| *part == BEGIN).count();
    (sections > 0).then(|| of_pem(document, sections, object))
}

/// Returns whether it is one DER value, or begins as only a long one does; the parser of the value checks its end.
fn is_der(document: &[u8]) -> bool {
    let is_whole = matches!(der::element(SEQUENCE, document), Some((_, [])));
    is_whole || matches!(document, [SEQUENCE, 0x80..=0xFF, ..])
}

/// Reads the objects in PEM that begins this many sections: one without an end would otherwise be skipped silently.
fn of_pem(document: &[u8], begun: usize, object: Object) -> Result<Vec<Vec<u8>>, EncodingError> {
    let sections = ::pem::parse_many(document).map_err(|error| EncodingError::Damaged(error.to_string()))?;
    if sections.len() != begun {
        return Err(EncodingError::Damaged("a section has no end".to_owned()));
    }
    let is_encrypted = |section: &&::pem::Pem| {
        let procedure = section.headers().get("Proc-Type");
        section.tag() == "ENCRYPTED PRIVATE KEY" || procedure.is_some_and(|it| it.contains("ENCRYPTED"))
    };
    let is_wanted = |section: &&::pem::Pem| object.has_label(section.tag()) && !is_encrypted(section);
    let objects: Vec<_> = sections.iter().filter(is_wanted).map(content).collect();
    match objects.is_empty() {
        false => Ok(objects),
        true if object == Object::PrivateKey && sections.iter().any(|it| is_encrypted(&it)) => {
            Err(EncodingError::Encrypted)
        }
        true => Err(missing(object, &sections)),
    }
}

/// A trusted certificate is followed by the purposes that OpenSSL trusts it for, which are ignored.
fn content(section: &::pem::Pem) -> Vec<u8> {
    let whole = section.contents();
    let certificate = der::whole_element(SEQUENCE, whole).map(|(certificate, _)| certificate);
    certificate.filter(|_| section.tag() == TRUSTED_CERTIFICATE).unwrap_or(whole).to_vec()
}

fn missing(object: Object, sections: &[::pem::Pem]) -> EncodingError {
    let label = |section: &::pem::Pem| -> String {
        section.tag().chars().filter(|char| char.is_ascii_graphic() || *char == ' ').take(40).collect()
    };
    let found: Vec<String> = sections.iter().take(5).map(label).collect();
    EncodingError::Missing { wanted: object.label(), found: found.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    const LIST: &str = "-----BEGIN X509 CRL-----\nMAMCAQE=\n-----END X509 CRL-----\n";

    #[test]
    fn a_missing_object_is_named() {
        let missing = |found: &str| EncodingError::Missing { wanted: "CERTIFICATE", found: found.to_owned() };
        let unended = |text: &str| text.replace("-----END", "---- END");
        for (document, error) in [
            (KEY.to_owned(), missing("PRIVATE KEY")),
            ([KEY, LIST].concat(), missing("PRIVATE KEY, X509 CRL")),
            (KEY.replace("PRIVATE", "PRI\u{1b}VATE"), missing("PRIVATE KEY")),
            (unended(KEY), EncodingError::Damaged("a section has no end".into())),
            ([LIST, &unended(KEY)].concat(), EncodingError::Damaged("a section has no end".into())),
            (String::new(), EncodingError::NotEncoded),
            ("hello".to_owned(), EncodingError::NotEncoded),
            ("aGVsbG8=".to_owned(), EncodingError::NotEncoded),
        ] {
            assert_eq!(read_objects(document.as_bytes(), Object::Certificate), Err(error), "{document}");
        }
        let damaged = KEY.replace("MAA=", "M*A=");
        assert!(matches!(
            read_objects(damaged.as_bytes(), Object::PrivateKey),
            Err(EncodingError::Damaged(_))
        ));
    }

    /// An independent writer of PEM agrees.
    #[test]
    fn objects_read_back_from_pem() {
        for object in [Object::Certificate, Object::RevocationList, Object::PrivateKey] {
            for length in [0, 45, 46, 48, 200] {
                let der = der::write(SEQUENCE, &vec![7; length]);
                let pem = write_pem(object, &der);
                assert_eq!(read_objects(pem.as_bytes(), object), Ok(vec![der.clone()]), "{object:?}");
                let config = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
                assert_eq!(pem, ::pem::encode_config(&::pem::Pem::new(object.label(), der), config));
            }
        }
    }

    #[test]
    fn encrypted_keys_are_recognized() {
        let pkcs8 = KEY.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let legacy = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
        for encrypted in [pkcs8.as_str(), legacy] {
            let read = |document: &str| read_objects(document.as_bytes(), Object::PrivateKey);
            assert_eq!(read(encrypted), Err(EncodingError::Encrypted));
            assert_eq!(read(&[encrypted, KEY].concat()), Ok(vec![vec![0x30, 0]]));
        }
    }
}
