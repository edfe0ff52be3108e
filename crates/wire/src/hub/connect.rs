//! The MQTT user name of a device: `{hub}/{device}[/{module}]/?api-version=…&DeviceClientType=…`.
//!
//! Neither the host nor the IDs are URL-encoded, the order of the parameters varies by SDK, and a legacy form lacks the
//! `?`. A device ID cannot contain `/`, so the first slash ends the host.

/// The MQTT user name of a device at its hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserName<'a> {
    /// The hub's host name as the client sent it, which may include a port.
    pub host: &'a str,
    /// The device ID, not validated.
    pub device_id: &'a str,
    /// The module ID, if a module connects.
    pub module_id: Option<&'a str>,
    /// The `api-version`, if present.
    pub api_version: Option<&'a str>,
    /// The digital twin model that the device announces (`model-id`), still percent-encoded.
    pub model_id: Option<&'a str>,
}

/// The error for a user name without a host or a device ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user name is not {{hub}}/{{deviceId}}/?api-version={{version}}")]
pub struct UserNameError;

impl<'a> UserName<'a> {
    /// Parses a user name.
    pub fn parse(text: &'a str) -> Result<UserName<'a>, UserNameError> {
        let (host, rest) = text.split_once('/').ok_or(UserNameError)?;
        let (client, query) = split_query(rest);
        let (device_id, module_id) = match client.split_once('/') {
            Some((device, module)) => (device, Some(module)),
            None => (client, None),
        };
        let well_formed = !host.is_empty()
            && !device_id.is_empty()
            && module_id.is_none_or(|module| !module.is_empty() && !module.contains('/'));
        if !well_formed {
            return Err(UserNameError);
        }
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let (api_version, model_id) = (value("api-version"), value("model-id"));
        Ok(UserName { host, device_id, module_id, api_version, model_id })
    }

    /// Returns the host without its port.
    pub fn host_name(&self) -> &'a str {
        self.host.split_once(':').map_or(self.host, |(name, _)| name)
    }
}

/// Returns the user name of a simulated device; `client_type` is the name of the client.
pub fn user_name(host: &str, device_id: &str, client_type: &str) -> String {
    format!("{host}/{device_id}/?api-version=2021-04-12&DeviceClientType={client_type}")
}

fn split_query(rest: &str) -> (&str, &str) {
    rest.rsplit_once("/?")
        .or_else(|| {
            let at = rest.rfind("/api-version=")?;
            Some((&rest[..at], &rest[at + 1..]))
        })
        .unwrap_or((rest.strip_suffix('/').unwrap_or(rest), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, &str, Option<&str>, Option<&str>)>) {
        let parsed = UserName::parse(text).ok();
        assert_eq!(
            parsed.map(|name| (name.host, name.device_id, name.module_id, name.api_version)),
            expected,
            "{text}"
        );
    }

    #[test]
    fn user_names_of_sdks_are_parsed() {
        check(
            "localhost/reg-1/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0",
            Some(("localhost", "reg-1", None, Some("2019-10-01"))),
        );
        check(
            "localhost:18883/reg-1/?DeviceClientType=x&api-version=2021-04-12",
            Some(("localhost:18883", "reg-1", None, Some("2021-04-12"))),
        );
        check("h/d/m/?api-version=1", Some(("h", "d", Some("m"), Some("1"))));
        check("h/d/api-version=2016-11-14", Some(("h", "d", None, Some("2016-11-14"))));
        check("h/a?b/?api-version=1", Some(("h", "a?b", None, Some("1"))));
        check("h/d", Some(("h", "d", None, None)));
        check("h/d/", Some(("h", "d", None, None)));
        check(&user_name("h", "d", "muster"), Some(("h", "d", None, Some("2021-04-12"))));
    }

    #[test]
    fn user_names_without_host_or_device_are_refused() {
        for text in
            ["", "h", "h/", "/d", "/", "h//?api-version=1", "h/d//?api-version=1", "h/d/m/x/?api-version=1"]
        {
            check(text, None);
        }
    }
}
