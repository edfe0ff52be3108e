//! SASL PLAIN: `{deviceId}@sas.{hub}` and a token.

use model::DeviceId;

use crate::hub::Hub;

/// The identity that a client claims, and its token.
pub struct Claim {
    /// The device.
    pub id: DeviceId,
    /// Its token.
    pub token: String,
}

impl Claim {
    /// Reads the three fields of RFC 4616; returns `None` if they are not those of a device of this hub.
    pub fn read(hub: &Hub, response: &[u8]) -> Option<Claim> {
        let mut fields = std::str::from_utf8(response).ok()?.split('\0');
        let (_authority, user, token) = (fields.next()?, fields.next()?, fields.next()?);
        let (id, name) = user.rsplit_once("@sas.")?;
        let is_whole = fields.next().is_none();
        let claim = Claim { id: DeviceId::parse(id).ok()?, token: token.to_owned() };
        (is_whole && hub.core.authorizer.is_own_short_name(name)).then_some(claim)
    }
}
