"""The service SDK clients that the tests share."""

import pytest
from azure.iot.deviceprovisioning import DeviceProvisioningClient
from azure.iot.hub import IoTHubRegistryManager


@pytest.fixture(scope="session")
def service(dev):
    """The provisioning service client of azure-iot-deviceprovisioning."""
    with DeviceProvisioningClient.from_connection_string(
        dev.service_connection_string, connection_verify=dev.ca_file
    ) as client:
        yield client


@pytest.fixture(scope="session")
def registries(dev):
    """By host name, the registry client of azure-iot-hub for each embedded hub."""
    return {hub.host_name: IoTHubRegistryManager.from_connection_string(hub.connection_string) for hub in dev.hubs}


@pytest.fixture(scope="session")
def registry(dev, registries):
    """The registry client of the first embedded hub."""
    return registries[dev.hubs[0].host_name]
