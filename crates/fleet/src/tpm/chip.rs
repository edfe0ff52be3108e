//! A connection to a TPM, one command at a time.

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
    codec::{Code, Command, MAX_RESPONSE, Response, response_size},
};

/// The owner's hierarchy, and that of endorsement (TPM_RH_OWNER, TPM_RH_ENDORSEMENT).
pub(super) const OWNER: u32 = 0x4000_0001;
pub(super) const ENDORSEMENT: u32 = 0x4000_000B;
const NULL: u32 = 0x4000_0007;

/// What a TPM answers that has no key under a handle: TPM_RC_HANDLE for the first handle.
const NO_SUCH_HANDLE: u32 = 0x18B;
/// TPM_RC_RETRY, TPM_RC_YIELDED and TPM_RC_TESTING: it is busy with itself.
const BUSY: [u32; 3] = [0x922, 0x908, 0x90A];
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Making an RSA key takes some TPMs this long and more.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

const SHA256: [u8; 2] = [0x00, 0x0B];
/// AES-128 in CFB mode, a TPMT_SYM_DEF_OBJECT.
const AES_128_CFB: [u8; 6] = [0x00, 0x06, 0x00, 0x80, 0x00, 0x43];

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The commands that a device needs.
pub(super) struct Chip {
    wire: Box<dyn Wire>,
}

impl Chip {
    pub(super) async fn open(address: &TpmAddress) -> Result<Chip, TpmError> {
        let wire: Box<dyn Wire> = match address {
            TpmAddress::Device(path) => Box::new(OpenOptions::new().read(true).write(true).open(path).await?),
            TpmAddress::Swtpm(address) => Box::new(TcpStream::connect(address).await?),
        };
        Ok(Chip { wire })
    }

    /// The TPM2B_PUBLIC of a key that the TPM keeps, its size included; `None` when there is none.
    pub(super) async fn read_public(&mut self, handle: u32) -> Result<Option<Vec<u8>>, TpmError> {
        match self.run(Command::new(Code::ReadPublic, &[handle])).await {
            Ok(mut response) => Ok(Some(with_size(&response.sized()?))),
            Err(TpmError::Refused { code: NO_SUCH_HANDLE, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the primary key of a template and keeps it under a handle.
    pub(super) async fn make_primary(
        &mut self,
        hierarchy: u32,
        template: &[u8],
        keep_as: u32,
    ) -> Result<(), TpmError> {
        let no_secret = [0; 4];
        let create = Command::new(Code::CreatePrimary, &[hierarchy]).by_password().sized(&no_secret);
        // Nothing from outside, no PCRs.
        let create = create.sized(template).sized(&[]).bytes(&[0; 4]);
        let made = self.run(create).await?.u32()?;
        let kept = self.keep(made, keep_as).await;
        self.flush(made).await?;
        kept
    }

    /// Keeps a loaded key under a handle, in place of whatever is there.
    pub(super) async fn keep(&mut self, loaded: u32, keep_as: u32) -> Result<(), TpmError> {
        if self.read_public(keep_as).await?.is_some() {
            self.evict(keep_as, keep_as).await?;
        }
        self.evict(loaded, keep_as).await
    }

    async fn evict(&mut self, object: u32, handle: u32) -> Result<(), TpmError> {
        let evict = Command::new(Code::EvictControl, &[OWNER, object]).by_password();
        self.run(evict.bytes(&handle.to_be_bytes())).await.map(drop)
    }

    pub(super) async fn flush(&mut self, handle: u32) -> Result<(), TpmError> {
        let flush = Command::new(Code::FlushContext, &[]).bytes(&handle.to_be_bytes());
        self.run(flush).await.map(drop)
    }

    /// What a credential for the endorsement key and another key of the same TPM holds. Using an endorsement key takes a
    /// session that knows the endorsement hierarchy's secret.
    pub(super) async fn activate(
        &mut self,
        (other, endorsement): (u32, u32),
        id_object: &[u8],
        secret: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        let session = self.policy_session().await?;
        let policy = Command::new(Code::PolicySecret, &[ENDORSEMENT, session]).by_password();
        // No nonce, no command, no reference, and it does not run out.
        let policy = policy.sized(&[]).sized(&[]).sized(&[]).bytes(&[0; 4]);
        let activate = Command::new(Code::ActivateCredential, &[other, endorsement]);
        let activate = activate.by_password().by_policy(session).sized(id_object).sized(secret);
        let activated = match self.run(policy).await {
            Ok(_) => self.run(activate).await,
            Err(error) => Err(error),
        };
        let Ok(mut response) = activated else {
            // It ends with the command that it was used for, but not with one that failed.
            self.flush(session).await?;
            return activated.and(Err(TpmError::Malformed));
        };
        let _size = response.u32()?;
        response.sized()
    }

    /// A policy session without a salt, bound to nothing.
    async fn policy_session(&mut self) -> Result<u32, TpmError> {
        let start = Command::new(Code::StartAuthSession, &[NULL, NULL]).sized(&[0; 16]).sized(&[]);
        // A policy, no parameter encryption.
        self.run(start.bytes(&[1, 0x00, 0x10]).bytes(&SHA256)).await?.u32()
    }

    /// Imports a key under a parent and loads it.
    pub(super) async fn import(
        &mut self,
        parent: u32,
        inner_key: &[u8],
        [area, duplicate, seed]: [&[u8]; 3],
    ) -> Result<u32, TpmError> {
        let import = Command::new(Code::Import, &[parent]).by_password();
        let import = import.sized(inner_key).sized(area).sized(duplicate).sized(seed).bytes(&AES_128_CFB);
        let mut imported = self.run(import).await?;
        let _size = imported.u32()?;
        let private = imported.sized()?;
        let load = Command::new(Code::Load, &[parent]).by_password().sized(&private).sized(area);
        self.run(load).await?.u32()
    }

    /// HMAC-SHA256 by a key that the TPM keeps. At most 1024 bytes fit into one command.
    pub(super) async fn hmac(&mut self, key: u32, message: &[u8]) -> Result<Vec<u8>, TpmError> {
        let sign = Command::new(Code::Hmac, &[key]).by_password().sized(message).bytes(&SHA256);
        let mut response = self.run(sign).await?;
        let _size = response.u32()?;
        response.sized()
    }

    async fn run(&mut self, command: Command) -> Result<Response, TpmError> {
        let bytes = command.encoded();
        let mut tries = 0;
        loop {
            let exchange = timeout(COMMAND_TIMEOUT, self.exchange(&bytes));
            let answer = exchange.await.map_err(|_| TpmError::Silent)??;
            match Response::to(command.code(), &answer) {
                Err(TpmError::Refused { code, .. }) if BUSY.contains(&code) && tries < TRIES => {
                    tries += 1;
                    sleep(PAUSE).await;
                }
                response => return response,
            }
        }
    }

    /// A kernel device takes a command in one write, and gives a response to one read that has room for it.
    async fn exchange(&mut self, command: &[u8]) -> Result<BytesMut, TpmError> {
        self.wire.write_all(command).await?;
        self.wire.flush().await?;
        let mut answer = BytesMut::with_capacity(MAX_RESPONSE);
        loop {
            if self.wire.read_buf(&mut answer).await? == 0 {
                return Err(TpmError::Malformed);
            }
            match response_size(&answer) {
                Some(size) if size > MAX_RESPONSE => return Err(TpmError::Malformed),
                Some(size) if answer.len() >= size => return Ok(answer),
                _ => {}
            }
        }
    }
}

fn with_size(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes(), bytes].concat()
}
