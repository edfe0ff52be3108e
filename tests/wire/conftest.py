"""Fixtures of the tests without an SDK."""

import endpoint
import pytest


@pytest.fixture(scope="session")
def service_api(dev):
    """The service API over plain HTTPS."""
    return endpoint.ServiceApi(dev)


@pytest.fixture
def device(service_api, request):
    """A freshly enrolled device, named after the test."""
    words = "".join(letter if letter.isalnum() else "-" for letter in request.node.nodeid.split("wire/")[-1])
    return service_api.enroll(f"w{abs(hash(request.node.nodeid)) % 10**6}-{words[-80:].strip('-')}")


@pytest.fixture
def connection(dev):
    """A kept HTTPS connection."""
    opened = endpoint.https(dev)
    yield opened
    opened.close()
