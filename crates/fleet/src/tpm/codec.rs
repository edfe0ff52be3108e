//! Encoding of TPM commands, decoding of responses (TPM 2.0 Library, part 1, section 18). All numbers are big-endian.

use super::TpmError;

/// The maximum size of a response in bytes, which exceeds the buffers of TPMs.
pub(super) const MAX_RESPONSE: usize = 4096;

/// The tag of commands without authorization (TPM_ST_NO_SESSIONS).
const NO_SESSIONS: u16 = 0x8001;
/// The tag of commands with authorization (TPM_ST_SESSIONS).
const SESSIONS: u16 = 0x8002;
/// Authorization by a password (TPM_RS_PW), which is always empty here.
const PASSWORD: u32 = 0x4000_0009;

/// A command under construction: handles, then authorizations, then parameters.
pub(super) struct Command {
    code: CommandCode,
    handles: Vec<u8>,
    authorizations: Vec<u8>,
    parameters: Vec<u8>,
}

/// The codes of the commands used (TPM_CC; part 2, section 6.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandCode {
    EvictControl = 0x120,
    CreatePrimary = 0x131,
    ActivateCredential = 0x147,
    PolicySecret = 0x151,
    Hmac = 0x155,
    Import = 0x156,
    Load = 0x157,
    FlushContext = 0x165,
    ReadPublic = 0x173,
    StartAuthSession = 0x176,
}

impl Command {
    pub(super) fn new(code: CommandCode, handles: &[u32]) -> Command {
        let handles = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
        Command { code, handles, authorizations: Vec::new(), parameters: Vec::new() }
    }

    /// Authorizes the next handle by the empty password.
    pub(super) fn by_password(self) -> Command {
        self.authorized_by(PASSWORD)
    }

    /// Authorizes the next handle by a policy session, which ends with the command.
    pub(super) fn by_policy(self, session: u32) -> Command {
        self.authorized_by(session)
    }

    /// Adds an authorization without nonce, attributes and HMAC.
    fn authorized_by(mut self, session: u32) -> Command {
        self.authorizations.extend(session.to_be_bytes());
        self.authorizations.extend([0; 5]);
        self
    }

    /// Adds a parameter that is encoded already.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Command {
        self.parameters.extend(bytes);
        self
    }

    /// Adds a parameter as a `TPM2B`: its size in two bytes, then its content.
    pub(super) fn sized(self, bytes: &[u8]) -> Command {
        let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.bytes(&size.to_be_bytes()).bytes(bytes)
    }

    pub(super) fn code(&self) -> CommandCode {
        self.code
    }

    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut authorizations = Vec::new();
        let mut tag = NO_SESSIONS;
        if !self.authorizations.is_empty() {
            tag = SESSIONS;
            authorizations.extend(length(&self.authorizations));
            authorizations.extend(&self.authorizations);
        }
        let body = [&self.handles, &authorizations, &self.parameters].map(Vec::as_slice).concat();
        let size = length(&[&[0; 10], &body[..]].concat());
        let code = (self.code as u32).to_be_bytes();
        [&tag.to_be_bytes()[..], &size, &code, &body].concat()
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Returns the size of a response in bytes; `None` if fewer than its first six bytes have arrived.
pub(super) fn response_size(start: &[u8]) -> Option<usize> {
    let size: [u8; 4] = start.get(2..6)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(size)).ok()
}

/// The rest of a response.
pub(super) struct Response(Vec<u8>);

impl Response {
    /// Decodes the header of the response to `command`; an error if the command failed.
    pub(super) fn to(command: CommandCode, bytes: &[u8]) -> Result<Response, TpmError> {
        let mut response = Response(bytes.to_vec());
        let (_tag, _size) = (response.take(2)?, response.u32()?);
        match response.u32()? {
            0 => Ok(response),
            code => Err(TpmError::Refused { command: command as u32, code }),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32, TpmError> {
        let bytes = self.take(4)?;
        bytes.try_into().map(u32::from_be_bytes).map_err(|_| TpmError::Malformed)
    }

    /// Reads the content of a `TPM2B`.
    pub(super) fn sized(&mut self) -> Result<Vec<u8>, TpmError> {
        let size = self.take(2)?;
        let size = size.try_into().map(u16::from_be_bytes).map_err(|_| TpmError::Malformed)?;
        self.take(size.into())
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, TpmError> {
        if self.0.len() < length {
            return Err(TpmError::Malformed);
        }
        Ok(self.0.drain(..length).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn commands_are_encoded() {
        let read = Command::new(CommandCode::ReadPublic, &[0x8101_0001]);
        assert_eq!(hex(&read.encoded()), "80010000000e0000017381010001");
        let sign = Command::new(CommandCode::Hmac, &[0x8100_0100]);
        let sign = sign.by_password().sized(b"ab").bytes(&[0, 0x0B]);
        assert_eq!(
            hex(&sign.encoded()),
            "80020000002100000155810001000000000940000009000000000000026162000b"
        );
    }

    #[test]
    fn responses_are_decoded() {
        let bytes = [0x80, 1, 0, 0, 0, 16, 0, 0, 0, 0, 0, 2, 7, 8, 0, 9];
        assert_eq!(response_size(&bytes[..6]), Some(16));
        assert_eq!(response_size(&bytes[..5]), None);
        let mut response = Response::to(CommandCode::Hmac, &bytes).unwrap();
        assert_eq!(response.sized().unwrap(), [7, 8]);
        assert!(matches!(response.sized(), Err(TpmError::Malformed)));
        let refused = [0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x8B];
        let refused = Response::to(CommandCode::ReadPublic, &refused).err().unwrap();
        assert_eq!(refused.to_string(), "the TPM refused command 0x173 with TPM_RC 0x18b");
        assert!(matches!(Response::to(CommandCode::Hmac, &bytes[..9]), Err(TpmError::Malformed)));
    }
}
