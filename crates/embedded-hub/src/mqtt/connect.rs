//! The CONNECT of a device: its user name, and its token or certificate.

use codec::mqtt::{Connect, ConnectReturnCode};
use model::{DeviceId, IdError};
use net::Peer;
use percent_encoding::percent_decode_str;
use wire::hub::{UserName, UserNameError};

use crate::{
    auth::{AdmissionError, Proof},
    hub::Hub,
    twins::ModelId,
};

/// Why a device may not connect.
#[derive(Debug, thiserror::Error)]
pub enum ConnectRefusal {
    /// The client ID differs from the device ID in the user name.
    #[error("the client ID is not the one in the user name")]
    ClientId,
    /// The user name's device ID breaks the rule for them.
    #[error(transparent)]
    DeviceId(#[from] IdError),
    /// Modules are not supported.
    #[error("modules cannot connect here")]
    Module,
    /// Its credentials were refused, or the hub failed.
    #[error(transparent)]
    NotAdmitted(#[from] AdmissionError),
    /// The user name is for another hub.
    #[error("the user name is for another hub")]
    OtherHub,
    /// The password is not UTF-8.
    #[error("the password is not UTF-8")]
    Password,
    /// The user name is missing or malformed.
    #[error(transparent)]
    UserName(#[from] UserNameError),
}

impl ConnectRefusal {
    /// Returns the CONNACK code: 5 for all refusals of the identity, as at the hosted hub.
    pub fn code(&self) -> ConnectReturnCode {
        match self {
            ConnectRefusal::ClientId => ConnectReturnCode::IdentifierRejected,
            ConnectRefusal::NotAdmitted(AdmissionError::Hub(_)) => ConnectReturnCode::ServerUnavailable,
            ConnectRefusal::NotAdmitted(AdmissionError::Denied(_))
            | ConnectRefusal::DeviceId(_)
            | ConnectRefusal::Module
            | ConnectRefusal::OtherHub
            | ConnectRefusal::Password
            | ConnectRefusal::UserName(_) => ConnectReturnCode::NotAuthorized,
        }
    }
}

/// The identity that a client claims.
pub struct Claim<'a> {
    /// The device.
    pub id: DeviceId,
    /// The digital twin model that it announces.
    pub model_id: Option<ModelId>,
    password: Option<&'a [u8]>,
}

impl<'a> Claim<'a> {
    /// Reads the claim from a CONNECT.
    pub fn read(hub: &Hub, connect: &'a Connect) -> Result<Claim<'a>, ConnectRefusal> {
        let name = UserName::parse(connect.username.as_deref().unwrap_or_default())?;
        if !hub.core.authorizer.is_own_name(name.host) {
            return Err(ConnectRefusal::OtherHub);
        }
        if name.module_id.is_some() {
            return Err(ConnectRefusal::Module);
        }
        if connect.client_id != name.device_id {
            return Err(ConnectRefusal::ClientId);
        }
        let model_id = name.model_id.map(|id| percent_decode_str(id).decode_utf8_lossy().into_owned());
        let model_id = model_id.as_deref().and_then(ModelId::parse);
        let password = connect.password.as_deref();
        Ok(Claim { id: DeviceId::parse(name.device_id)?, model_id, password })
    }

    /// Returns the credentials of the client.
    pub fn proof(&self, peer: &'a Peer) -> Result<Option<Proof<'a>>, ConnectRefusal> {
        let token = self.password.map(std::str::from_utf8).transpose();
        let token = token.map_err(|_| ConnectRefusal::Password)?;
        Ok(Proof::new(token, peer.certificates.first().map(AsRef::as_ref)))
    }
}
