//! Lines of devices with a TPM: each registration begins with a challenge, which HTTPS and MQTT give in reply to a request
//! and AMQP while SASL goes on.

use codec::amqp::SaslCode;
use model::SymmetricKey;
use net::Transport;
use serde_json::Value;

use crate::{
    amqp_tpm::{Sasl, first_of},
    http::{Http, VERSION, register_path},
    lines::{Line, Said, dial},
    mqtt_client::REGISTER,
    tpm::{TpmDevice, asking},
    world::{Device, World},
};

/// How a device that gets no challenge is turned away.
pub enum TurnedAway {
    With(Said),
    /// SASL has no words for why.
    Silently(SaslCode),
}

/// A line on which the device proved itself, or proves itself with each request, by the key that its TPM finds in the
/// challenge.
pub async fn challenged(
    world: &World,
    transport: Transport,
    device: &Device,
    tpm: &TpmDevice,
) -> Result<Line, TurnedAway> {
    let key = match transport {
        Transport::Https => opened(tpm, over_https(world, transport, device, tpm).await)?,
        Transport::Mqtt | Transport::MqttWs => opened(tpm, over_mqtt(world, transport, device, tpm).await)?,
        Transport::Amqp | Transport::AmqpWs => {
            let stream = dial(transport, world, None).await;
            let mut sasl = Sasl::begin(stream, first_of(&device.scope, &tpm.name, &tpm.tpm)).await;
            let device = device.with_key(sasl.opened(&tpm.tpm).await.map_err(TurnedAway::Silently)?);
            sasl.respond(device.token().as_bytes()).await;
            return match sasl.over().await {
                SaslCode::Ok => Ok(Line::let_in(sasl.stream, &device).await),
                code => Err(TurnedAway::Silently(code)),
            };
        }
    };
    Ok(Line::open(world, transport, &device.with_key(key), None).await)
}

async fn over_https(world: &World, transport: Transport, device: &Device, tpm: &TpmDevice) -> (u64, Value) {
    let mut http = Http::new(dial(transport, world, None).await).await;
    let reply = http.call("PUT", register_path(device, VERSION)).body(tpm.body().to_string()).send().await;
    (reply.status.as_u16().into(), reply.json())
}

async fn over_mqtt(world: &World, transport: Transport, device: &Device, tpm: &TpmDevice) -> (u64, Value) {
    let mut mqtt = asking(dial(transport, world, None).await, device).await;
    let response = mqtt.request(format!("{REGISTER}1"), tpm.body().to_string()).await;
    let (status, _) = response.topic.split_once('/').unwrap();
    (status.parse().unwrap(), response.json)
}

fn opened(tpm: &TpmDevice, (status, json): (u64, Value)) -> Result<SymmetricKey, TurnedAway> {
    if json.get("authenticationKey").is_none() {
        return Err(TurnedAway::With(Said { status, retry_after_secs: None, json }));
    }
    assert_eq!((status, &json["keyName"]), (401, &"registration".into()), "{}", tpm.name);
    Ok(tpm.open(&json))
}
