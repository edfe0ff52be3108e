//! Connections to a TPM, with one command at a time.

use std::time::Duration;

use bytes::BytesMut;
use tokio::{
    fs::OpenOptions,
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    TpmAddress, TpmError,
    codec::{Command, CommandCode, MAX_RESPONSE, Response, response_size},
};

/// The owner hierarchy (TPM_RH_OWNER).
pub(super) const OWNER: u32 = 0x4000_0001;
/// The endorsement hierarchy (TPM_RH_ENDORSEMENT).
pub(super) const ENDORSEMENT: u32 = 0x4000_000B;
/// No object (TPM_RH_NULL).
const NULL: u32 = 0x4000_0007;

/// The response code for a handle without an object: TPM_RC_HANDLE for the first handle.
const NO_SUCH_HANDLE: u32 = 0x18B;
/// The response codes of a busy TPM, after which a command is repeated: TPM_RC_RETRY, TPM_RC_YIELDED and
/// TPM_RC_TESTING.
const BUSY: [u32; 3] = [0x922, 0x908, 0x90A];
const MAX_RETRIES: u32 = 50;
const RETRY_BACKOFF: Duration = Duration::from_millis(20);

/// The timeout of a command. Some TPMs take a minute and more to create an RSA key.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// TPM_ALG_SHA256.
const SHA256: [u8; 2] = [0x00, 0x0B];
/// AES-128 in CFB mode, as a TPMT_SYM_DEF_OBJECT.
const AES_128_CFB: [u8; 6] = [0x00, 0x06, 0x00, 0x80, 0x00, 0x43];

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection to a TPM, with the commands that a device needs.
pub(super) struct TpmConnection {
    stream: Box<dyn ByteStream>,
}

impl TpmConnection {
    pub(super) async fn open(address: &TpmAddress) -> Result<TpmConnection, TpmError> {
        let stream: Box<dyn ByteStream> = match address {
            TpmAddress::Device(path) => Box::new(OpenOptions::new().read(true).write(true).open(path).await?),
            TpmAddress::Swtpm(address) => Box::new(TcpStream::connect(address).await?),
        };
        Ok(TpmConnection { stream })
    }

    /// Reads the TPM2B_PUBLIC of a key, including its size; `None` if the handle has no key.
    pub(super) async fn read_public(&mut self, handle: u32) -> Result<Option<Vec<u8>>, TpmError> {
        match self.execute(Command::new(CommandCode::ReadPublic, &[handle])).await {
            Ok(mut response) => Ok(Some(with_size(&response.sized()?))),
            Err(TpmError::Refused { code: NO_SUCH_HANDLE, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the primary key of a template, and makes it persistent under `handle`.
    pub(super) async fn create_primary(
        &mut self,
        hierarchy: u32,
        template: &[u8],
        handle: u32,
    ) -> Result<(), TpmError> {
        // The TPM2B_SENSITIVE_CREATE: no authorization value, no data.
        let no_secret = [0; 4];
        let create = Command::new(CommandCode::CreatePrimary, &[hierarchy]).by_password().sized(&no_secret);
        // No outside information, no PCRs.
        let create = create.sized(template).sized(&[]).bytes(&[0; 4]);
        let transient = self.execute(create).await?.u32()?;
        let persisted = self.persist(transient, handle).await;
        self.flush(transient).await?;
        persisted
    }

    /// Makes a transient key persistent under `handle`, and replaces the key that the handle has.
    pub(super) async fn persist(&mut self, transient: u32, handle: u32) -> Result<(), TpmError> {
        if self.read_public(handle).await?.is_some() {
            self.evict_control(handle, handle).await?;
        }
        self.evict_control(transient, handle).await
    }

    /// Makes a transient object persistent, or removes a persistent one (TPM2_EvictControl).
    async fn evict_control(&mut self, object: u32, handle: u32) -> Result<(), TpmError> {
        let evict = Command::new(CommandCode::EvictControl, &[OWNER, object]).by_password();
        self.execute(evict.bytes(&handle.to_be_bytes())).await.map(drop)
    }

    pub(super) async fn flush(&mut self, handle: u32) -> Result<(), TpmError> {
        let flush = Command::new(CommandCode::FlushContext, &[]).bytes(&handle.to_be_bytes());
        self.execute(flush).await.map(drop)
    }

    /// Returns the secret in a credential for the endorsement key and another key of the same TPM
    /// (TPM2_ActivateCredential). The policy of endorsement keys requires the authorization of the endorsement
    /// hierarchy.
    pub(super) async fn activate(
        &mut self,
        (other, endorsement): (u32, u32),
        id_object: &[u8],
        secret: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        let session = self.policy_session().await?;
        let policy = Command::new(CommandCode::PolicySecret, &[ENDORSEMENT, session]).by_password();
        // No nonce, no command, no reference, no expiry.
        let policy = policy.sized(&[]).sized(&[]).sized(&[]).bytes(&[0; 4]);
        let activate = Command::new(CommandCode::ActivateCredential, &[other, endorsement]);
        let activate = activate.by_password().by_policy(session).sized(id_object).sized(secret);
        let activated = match self.execute(policy).await {
            Ok(_) => self.execute(activate).await,
            Err(error) => Err(error),
        };
        let Ok(mut response) = activated else {
            // A session ends with a command that succeeds, but not with one that fails.
            self.flush(session).await?;
            return activated.and(Err(TpmError::Malformed));
        };
        let _size = response.u32()?;
        response.sized()
    }

    /// Starts a policy session that is neither salted nor bound.
    async fn policy_session(&mut self) -> Result<u32, TpmError> {
        let start = Command::new(CommandCode::StartAuthSession, &[NULL, NULL]).sized(&[0; 16]).sized(&[]);
        // TPM_SE_POLICY, without parameter encryption.
        self.execute(start.bytes(&[1, 0x00, 0x10]).bytes(&SHA256)).await?.u32()
    }

    /// Imports a key under a parent, loads it, and returns its transient handle.
    pub(super) async fn import(
        &mut self,
        parent: u32,
        inner_key: &[u8],
        [area, duplicate, seed]: [&[u8]; 3],
    ) -> Result<u32, TpmError> {
        let import = Command::new(CommandCode::Import, &[parent]).by_password();
        let import = import.sized(inner_key).sized(area).sized(duplicate).sized(seed).bytes(&AES_128_CFB);
        let mut imported = self.execute(import).await?;
        let _size = imported.u32()?;
        let private = imported.sized()?;
        let load = Command::new(CommandCode::Load, &[parent]).by_password().sized(&private).sized(area);
        self.execute(load).await?.u32()
    }

    /// Computes the HMAC-SHA256 of a message of at most 1024 bytes, by a persistent key.
    pub(super) async fn hmac(&mut self, key: u32, message: &[u8]) -> Result<Vec<u8>, TpmError> {
        let sign = Command::new(CommandCode::Hmac, &[key]).by_password().sized(message).bytes(&SHA256);
        let mut response = self.execute(sign).await?;
        let _size = response.u32()?;
        response.sized()
    }

    /// Executes a command, and repeats it while the TPM is busy.
    async fn execute(&mut self, command: Command) -> Result<Response, TpmError> {
        let bytes = command.encoded();
        let mut retries = 0;
        loop {
            let exchange = timeout(COMMAND_TIMEOUT, self.exchange(&bytes));
            let response = exchange.await.map_err(|_| TpmError::Timeout)??;
            match Response::to(command.code(), &response) {
                Err(TpmError::Refused { code, .. }) if BUSY.contains(&code) && retries < MAX_RETRIES => {
                    retries += 1;
                    sleep(RETRY_BACKOFF).await;
                }
                response => return response,
            }
        }
    }

    /// Sends a command and receives its response. A kernel device requires the command in one write, and returns the
    /// response to one read with a buffer that is large enough.
    async fn exchange(&mut self, command: &[u8]) -> Result<BytesMut, TpmError> {
        self.stream.write_all(command).await?;
        self.stream.flush().await?;
        let mut response = BytesMut::with_capacity(MAX_RESPONSE);
        loop {
            if self.stream.read_buf(&mut response).await? == 0 {
                return Err(TpmError::Malformed);
            }
            match response_size(&response) {
                Some(size) if size > MAX_RESPONSE => return Err(TpmError::Malformed),
                Some(size) if response.len() >= size => return Ok(response),
                _ => {}
            }
        }
    }
}

fn with_size(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes(), bytes].concat()
}
