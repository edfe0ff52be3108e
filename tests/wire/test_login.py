"""`muster login` and `logout` at a certified OpenID provider, and commands with the login of a user."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import identity_provider
import muster_dev
import pytest
import single_node

PROVIDER, DIRECT = 18772, 18581
ISSUER = f"http://127.0.0.1:{PROVIDER}"
# Commands renew an access token 30 seconds before it expires: these are renewed after two.
LIFETIME = 32

CONFIGURATION = f"""
[[instance]]
name = "other"
id_scope = "0neBBBBBBBB"
service_hosts = ["127.0.0.1"]
[oidc]
issuer = "{ISSUER}"
[[oidc.role]]
value = "owner"
role = "owner"
[[oidc.role]]
value = "reader"
role = "data reader"
"""


class Operator:
    """A user of `muster` with its own directory for configuration."""

    def __init__(self, directory: pathlib.Path, ca: str):
        self.file = directory / "config/muster/login.json"
        removed = ("MUSTER_CONNECTION_STRING", "MUSTER_CA", "MUSTER_SERVICE")
        self.environment = {name: value for name, value in os.environ.items() if name not in removed}
        self.environment["XDG_CONFIG_HOME"] = str(directory / "config")
        services = ["--service", f"localhost:{DIRECT}", "--service", f"127.0.0.1:{DIRECT}", "--ca", ca]
        provider = ["--issuer", ISSUER, "--client-id", "muster"]
        self.settings = [*services, *provider, "--audience", "https://azure-devices-provisioning.net"]

    def start(self, *arguments: str) -> subprocess.Popen:
        command = [str(muster_dev.binary()), *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(command, env=self.environment, text=True, **pipes)

    def run(self, *arguments: str) -> tuple[int, str]:
        """The exit status, and all output."""
        return self.end(self.start(*arguments))

    def end(self, process: subprocess.Popen, before: str = "") -> tuple[int, str]:
        output = before + "".join(process.communicate(timeout=120))
        if self.file.exists():
            login = self.login()
            assert login["accessToken"] not in output and login["refreshToken"] not in output
        return process.returncode, output

    def log_in(self, user: str, *arguments: str, is_denied: bool = False) -> tuple[int, str]:
        """Runs `muster login`, and logs the user in at the address that it prints."""
        process = self.start("login", *arguments)
        lines = [process.stdout.readline(), process.stdout.readline()]
        address = lines[1].split()[-1]
        assert address.startswith(ISSUER), (lines, process.stderr.read() if not lines[0] else "")
        page = identity_provider.log_in(address, user, is_denied)
        status, output = self.end(process, "".join(lines))
        return status, output + page

    def login(self) -> dict:
        return json.loads(self.file.read_text())


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    """A user of a running Muster."""
    directory: pathlib.Path = tmp_path_factory.mktemp("login")
    ca = single_node.configure(directory, DIRECT, CONFIGURATION)
    with single_node.running(directory, DIRECT):
        yield Operator(directory, ca)


def is_accepted(refresh_token: str) -> bool:
    """Whether the provider exchanges the token."""
    form = {"grant_type": "refresh_token", "client_id": "muster", "refresh_token": refresh_token}
    try:
        urllib.request.urlopen(f"{ISSUER}/token", urllib.parse.urlencode(form).encode(), timeout=30)
    except urllib.error.HTTPError as error:
        assert json.loads(error.read())["error"] == "invalid_grant"
        return False
    return True


def test_login(operator, tmp_path):
    status, output = operator.run("enrollment", "list")
    assert status == 2 and "muster login" in output, output
    status, output = operator.run("login", *operator.settings)
    assert status == 5 and ISSUER in output, "the provider is down: " + output

    with identity_provider.running(tmp_path, PROVIDER, LIFETIME):
        status, output = operator.log_in("owner", *operator.settings, is_denied=True)
        assert status == 1 and "the login was denied" in output and not operator.file.exists(), output

        by_code(operator)
        by_browser(operator)

        status, output = operator.run("logout")
        assert status == 0 and "revoked" in output and not operator.file.exists(), output
        assert operator.run("logout")[0] == 0
        status, output = operator.log_in("owner", *operator.settings)
        assert status == 0, output

    # Neither the provider nor its grants: the first passes, the second does not.
    time.sleep(LIFETIME - 29)
    status, output = operator.run("enrollment", "list")
    assert status == 5 and ISSUER in output, output
    with identity_provider.running(tmp_path, PROVIDER):
        status, output = operator.run("enrollment", "list")
        assert status == 4 and "run muster login" in output, output


def by_code(operator):
    status, output = operator.log_in("owner", *operator.settings)
    assert status == 0 and "type the code" in output and "Sign-in Success" in output, output
    assert stat.S_IMODE(operator.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(operator.file.parent.stat().st_mode) == 0o700

    status, output = operator.run("enrollment", "create", "dev-1", "--symmetric-key")
    assert status == 0, output
    status, output = operator.run("log", "--actor", "owner", "--json")
    assert status == 0 and ISSUER in output, output
    status, output = operator.run("instance", "list", "--json")
    assert status == 0 and single_node.ID_SCOPE in output, output
    status, output = operator.run("enrollment", "show", "dev-1", "--service", f"127.0.0.1:{DIRECT}")
    assert status == 3, output
    status, output = operator.run("enrollment", "list", "--service", "foreign.example")
    assert status == 1 and "the login is not for foreign.example" in output, output

    # The token must be renewed, once: the provider ends a login whose refresh token comes twice.
    before = operator.login()
    time.sleep(LIFETIME - 29)
    commands = [operator.start("enrollment", "list") for _ in range(4)]
    assert [operator.end(command)[0] for command in commands] == [0] * 4
    after = operator.login()
    assert before["refreshToken"] != after["refreshToken"]
    time.sleep(LIFETIME - 29)
    assert operator.run("enrollment", "list")[0] == 0
    assert not is_accepted(before["refreshToken"])


def by_browser(operator):
    status, output = operator.log_in("reader", "--browser")
    assert status == 0 and "You may close this page" in output, output
    assert operator.run("enrollment", "show", "dev-1")[0] == 0
    status, output = operator.run("enrollment", "delete", "dev-1")
    assert status == 4 and "(tracking ID " in output, output
    refresh_token = operator.login()["refreshToken"]
    assert operator.run("logout")[0] == 0
    assert not is_accepted(refresh_token)
    status, output = operator.run("login", "--browser")
    assert status == 2 and "--issuer" in output, output
    assert operator.log_in("owner", *operator.settings, "--browser")[0] == 0
