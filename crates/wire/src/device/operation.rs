//! What a device asks for with a message, over MQTT or AMQP.

use codec::amqp::Entries;
use model::OperationId;

/// The application property that says what an AMQP message asks for.
const OPERATION_TYPE: &str = "iotdps-operation-type";
const REGISTER: &str = "iotdps-register";
const POLL: &str = "iotdps-get-operationstatus";

/// The application property with the operation ID of a poll.
const OPERATION_ID: &str = "iotdps-operation-id";

/// What a device asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum RegistrationOperation {
    /// To be registered.
    Register,
    /// The status of an operation; `None` if the ID is missing or malformed.
    Poll(Option<OperationId>),
}

impl RegistrationOperation {
    /// Reads the application properties of an AMQP message; returns `None` if they ask for neither.
    pub fn of_properties(properties: &Entries) -> Option<RegistrationOperation> {
        match properties.text(OPERATION_TYPE)? {
            REGISTER => Some(RegistrationOperation::Register),
            POLL => {
                let operation_id = properties.text(OPERATION_ID).unwrap_or_default();
                Some(RegistrationOperation::Poll(OperationId::parse(operation_id).ok()))
            }
            _ => None,
        }
    }

    /// Returns the application properties of an AMQP message.
    pub fn properties(&self) -> Entries {
        match self {
            RegistrationOperation::Register => Entries::new().with(OPERATION_TYPE, REGISTER),
            RegistrationOperation::Poll(None) => Entries::new().with(OPERATION_TYPE, POLL),
            RegistrationOperation::Poll(Some(operation_id)) => {
                Entries::new().with(OPERATION_TYPE, POLL).with(OPERATION_ID, operation_id.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_and_written() {
        let poll = |id: &str| RegistrationOperation::Poll(OperationId::parse(id).ok());
        for (operation, pairs) in [
            (RegistrationOperation::Register, &[("iotdps-operation-type", "iotdps-register")][..]),
            (
                poll("5.1.2"),
                &[("iotdps-operation-type", "iotdps-get-operationstatus"), ("iotdps-operation-id", "5.1.2")],
            ),
            (poll(""), &[("iotdps-operation-type", "iotdps-get-operationstatus")]),
        ] {
            let properties =
                pairs.iter().fold(Entries::new(), |entries, (name, text)| entries.with(*name, *text));
            assert_eq!(operation.properties(), properties);
            assert_eq!(RegistrationOperation::of_properties(&properties), Some(operation));
        }
    }
}
