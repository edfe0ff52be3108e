//! Files that are sealed with a passphrase.
//!
//! ```text
//! file   = magic (8) · iterations (4, big endian) · salt (16) · chunk …
//! key    = PBKDF2-HMAC-SHA256(passphrase, salt, iterations), 32 bytes
//! chunk  = AES-256-GCM of 64 KiB, the last one of less or as much
//! nonce  = number of the chunk from 0 (11, big endian) · 1 if it is the last one, else 0
//! ```
//!
//! This is the STREAM construction, as in age: chunks cannot be changed, reordered, left out or cut off. No key is used for two
//! files, because each has its own salt.

use std::{
    io::{self, ErrorKind, Read, Write},
    num::NonZeroU32,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    pbkdf2, rand,
};

/// How a sealed file begins.
pub const MAGIC: &[u8; 8] = b"MUSTER\x00\x01";

/// The bytes of a chunk before it is sealed.
const CHUNK_BYTES: usize = 64 * 1024;

/// The bytes by which a sealed chunk is longer.
const TAG_BYTES: usize = 16;

const SALT_BYTES: usize = 16;

/// The iterations for new files (OWASP's recommendation for HMAC-SHA256): about half a second.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();

/// The most iterations that a file may ask for: a foreign file must not cost minutes.
const MAX_ITERATIONS: u32 = 10_000_000;

/// A passphrase. It has no `Debug`.
pub struct Passphrase(String);

impl Passphrase {
    /// The shortest one, in characters.
    const MIN_CHARACTERS: usize = 12;

    /// Takes a text, without the line end of a file.
    pub fn parse(text: &str) -> anyhow::Result<Passphrase> {
        let text = text.trim_end_matches(['\r', '\n']);
        anyhow::ensure!(
            text.chars().count() >= Self::MIN_CHARACTERS,
            "the passphrase must have at least {} characters",
            Self::MIN_CHARACTERS
        );
        Ok(Passphrase(text.to_owned()))
    }

    fn key(&self, salt: &[u8], iterations: NonZeroU32) -> io::Result<LessSafeKey> {
        let mut key = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, self.0.as_bytes(), &mut key);
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| refused("the key is not accepted"))?;
        Ok(LessSafeKey::new(key))
    }
}

/// Numbers the chunks of a file.
#[derive(Default)]
struct Chunks(u64);

impl Chunks {
    /// Returns the nonce of the next chunk.
    fn next(&mut self, is_last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.0.to_be_bytes());
        nonce[11] = u8::from(is_last);
        self.0 += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Seals what is written. [`SealedWriter::finish`] must be called: without the last chunk, the file cannot be read.
pub struct SealedWriter<W> {
    output: W,
    key: LessSafeKey,
    chunks: Chunks,
    pending: Vec<u8>,
}

impl<W: Write> SealedWriter<W> {
    /// Begins a file.
    pub fn new(output: W, passphrase: &Passphrase) -> io::Result<SealedWriter<W>> {
        SealedWriter::with_iterations(output, passphrase, ITERATIONS)
    }

    fn with_iterations(
        mut output: W,
        passphrase: &Passphrase,
        iterations: NonZeroU32,
    ) -> io::Result<SealedWriter<W>> {
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| io::Error::other("there are no random bytes"))?;
        output.write_all(MAGIC)?;
        output.write_all(&iterations.get().to_be_bytes())?;
        output.write_all(&salt)?;
        let key = passphrase.key(&salt, iterations)?;
        Ok(SealedWriter { output, key, chunks: Chunks::default(), pending: Vec::with_capacity(CHUNK_BYTES) })
    }

    /// Writes the last chunk, and returns the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_chunk(true)?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn write_chunk(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = self.chunks.next(is_last);
        let sealed = self.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut self.pending);
        sealed.map_err(|_| io::Error::other("a chunk cannot be sealed"))?;
        self.output.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits for more, because it may be the last one.
        if self.pending.len() == CHUNK_BYTES {
            self.write_chunk(false)?;
        }
        let length = bytes.len().min(CHUNK_BYTES - self.pending.len());
        self.pending.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    /// Does nothing: only whole chunks are written.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a sealed file. What it returns is verified.
pub struct SealedReader<R> {
    input: R,
    key: LessSafeKey,
    chunks: Chunks,
    /// The sealed bytes of the next chunk, and one byte more if it is not the last.
    ahead: Vec<u8>,
    opened: Vec<u8>,
    /// How much of `opened` was returned.
    returned: usize,
    is_ended: bool,
}

impl<R: Read> SealedReader<R> {
    /// Reads the begin of a file, [`MAGIC`] included. A wrong passphrase shows at the first chunk.
    pub fn new(mut input: R, passphrase: &Passphrase) -> io::Result<SealedReader<R>> {
        let (mut magic, mut iterations, mut salt) = ([0; 8], [0; 4], [0; SALT_BYTES]);
        for part in [&mut magic[..], &mut iterations, &mut salt] {
            input.read_exact(part).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => refused("this is not a sealed file"),
                _ => error,
            })?;
        }
        let iterations = NonZeroU32::new(u32::from_be_bytes(iterations));
        let iterations = iterations.filter(|count| count.get() <= MAX_ITERATIONS);
        let iterations = iterations.filter(|_| magic == *MAGIC);
        let iterations = iterations.ok_or_else(|| refused("this is not a sealed file"))?;
        let key = passphrase.key(&salt, iterations)?;
        let (ahead, opened) = (Vec::new(), Vec::new());
        Ok(SealedReader {
            input,
            key,
            chunks: Chunks::default(),
            ahead,
            opened,
            returned: 0,
            is_ended: false,
        })
    }

    fn open_chunk(&mut self) -> io::Result<()> {
        let place = self.chunks.0 * CHUNK_BYTES as u64;
        let whole = CHUNK_BYTES + TAG_BYTES;
        let missing = (whole + 1).saturating_sub(self.ahead.len());
        self.input.by_ref().take(missing as u64).read_to_end(&mut self.ahead)?;
        let is_last = self.ahead.len() <= whole;
        let next = self.ahead.split_off(self.ahead.len().min(whole));
        self.opened = std::mem::replace(&mut self.ahead, next);
        let nonce = self.chunks.next(is_last);
        let opened = self.key.open_in_place(nonce, Aad::empty(), &mut self.opened);
        let length = opened.map_err(|_| not_opened(place))?.len();
        self.opened.truncate(length);
        (self.returned, self.is_ended) = (0, is_last);
        Ok(())
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.returned == self.opened.len() {
            if self.is_ended {
                return Ok(0);
            }
            self.open_chunk()?;
        }
        let opened = &self.opened[self.returned..];
        let length = opened.len().min(buffer.len());
        buffer[..length].copy_from_slice(&opened[..length]);
        self.returned += length;
        Ok(length)
    }
}

/// Describes why the chunk does not open that begins at this byte of the content.
fn not_opened(place: u64) -> io::Error {
    match place {
        0 => refused("the passphrase is wrong, or the file was changed"),
        // The passphrase opened what comes before.
        _ => refused(&format!("the file was changed or cut off after {place} bytes of its content")),
    }
}

fn refused(problem: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: NonZeroU32 = NonZeroU32::new(10).unwrap();

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::parse(text).unwrap()
    }

    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut writer =
            SealedWriter::with_iterations(Vec::new(), &passphrase("correct horse\n"), FEW).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn opened(file: &[u8], text: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        SealedReader::new(file, &passphrase(text))?.read_to_end(&mut content)?;
        Ok(content)
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn a_sealed_file_is_read_with_its_passphrase_only() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let file = sealed(&content(length));
            assert_eq!(opened(&file, "correct horse").unwrap(), content(length), "{length}");
            assert!(opened(&file, "correct horses").is_err(), "{length}");
            assert_ne!(sealed(&content(length)), file, "{length}: each file has its own key");
        }
        assert!(Passphrase::parse("eleven char").is_err());
    }

    /// Every byte counts, also those before the chunks; and so do the order of chunks and their end.
    #[test]
    fn a_changed_file_is_refused() {
        let file = sealed(&content(2 * CHUNK_BYTES + 5));
        let (begin, chunk) = (MAGIC.len() + 4 + SALT_BYTES, CHUNK_BYTES + TAG_BYTES);
        let places = (0..begin).chain([begin, begin + chunk - 1, begin + chunk, file.len() - 1]);
        // Iterations beyond a few would take long.
        for at in places.filter(|at| !(8..11).contains(at)) {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(opened(&changed, "correct horse").is_err(), "{at}");
        }
        for length in [begin, begin + chunk, begin + 2 * chunk, file.len() - 1] {
            assert!(opened(&file[..length], "correct horse").is_err(), "cut off at {length}");
        }
        let problem = |file: &[u8], text| opened(file, text).unwrap_err().to_string();
        assert!(problem(&file[..begin + chunk], "correct horse").contains("the passphrase is wrong, or"));
        assert!(problem(&file[..begin + 2 * chunk], "correct horse").contains("cut off after 65536 bytes"));
        assert_eq!(problem(&file[..begin - 1], "correct horse"), "this is not a sealed file");
        let mut swapped = file[..begin].to_vec();
        swapped.extend_from_slice(&file[begin + chunk..begin + 2 * chunk]);
        swapped.extend_from_slice(&file[begin..begin + chunk]);
        swapped.extend_from_slice(&file[begin + 2 * chunk..]);
        assert!(opened(&swapped, "correct horse").is_err(), "swapped");
        assert!(opened(&[file.as_slice(), b"x"].concat(), "correct horse").is_err(), "longer");
        let mut costly = file;
        costly[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(opened(&costly, "correct horse").is_err(), "too many iterations");
    }
}
