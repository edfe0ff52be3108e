"""Runs `muster dev` for the tests: start it, read dev.json, stop it with SIGTERM.

As a program it runs one command beside a fresh `muster dev`, for runners that are not Python:

    python tests/lib/muster_dev.py -- node --test tests/sdk/node

The binary is `$MUSTER_BIN`, otherwise `target/debug/muster` of this repository.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# A first start makes a CA, server keys and two hub databases with a debug binary.
START_SECONDS = 60
# Longer than the grace period of the server for pending requests.
STOP_SECONDS = 30
# The SDKs hard-code these two; 127.0.0.1 is the service, .11 and .12 its embedded hubs.
STANDARD_PORTS = (443, 8883)
ADDRESSES = ("127.0.0.1", "127.0.0.11", "127.0.0.12")


class DevFailure(Exception):
    """`muster dev` did not start or did not end as expected."""


@dataclasses.dataclass(frozen=True)
class Hub:
    """One embedded hub, as dev.json lists it."""

    name: str
    host_name: str
    connection_string: str


@dataclasses.dataclass(frozen=True)
class MusterDev:
    """A running `muster dev`: its process and the content of its dev.json."""

    process: subprocess.Popen
    directory: pathlib.Path
    id_scope: str
    device_endpoint: str
    https_port: int
    mqtts_port: int
    amqps_port: int
    service_connection_string: str
    management_connection_string: str
    ca_file: str
    hubs: tuple[Hub, ...]
    sample_group_id: str
    sample_group_key: str

    @property
    def ca_pem(self) -> str:
        """The PEM text of the CA that signed every server certificate."""
        return pathlib.Path(self.ca_file).read_text(encoding="ascii")

    @property
    def service_credentials(self) -> dict[str, str]:
        """HostName, SharedAccessKeyName and SharedAccessKey of the service connection string."""
        return parse_connection_string(self.service_connection_string)

    def webhook_key(self) -> str:
        """The key by which webhooks verify requests of the service."""
        command = [binary(), "webhook", "key", "--dev", self.directory]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def hub(self, host_name: str) -> Hub:
        """The embedded hub that a device was assigned to."""
        return next(hub for hub in self.hubs if hub.host_name == host_name)


def parse_connection_string(text: str) -> dict[str, str]:
    """Splits `Name=value;…`; a value may contain `=` (base64)."""
    return dict(part.split("=", 1) for part in text.split(";") if part)


def binary() -> pathlib.Path:
    """The muster binary under test."""
    path = pathlib.Path(os.environ.get("MUSTER_BIN", REPOSITORY / "target/debug/muster"))
    if not path.is_file():
        raise DevFailure(f"{path} does not exist; `make build` makes it, MUSTER_BIN names another")
    return path.resolve()


def require_standard_ports() -> None:
    """Fails with instructions if port 443 or 8883 cannot be bound."""
    for address in ADDRESSES:
        for port in STANDARD_PORTS:
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    listener.bind((address, port))
                    listener.listen(1)
                except OSError as error:
                    raise DevFailure(f"cannot listen on {address}:{port}: {port_advice(error)}") from error


def port_advice(error: OSError) -> str:
    """Returns instructions for a port that cannot be bound."""
    if error.errno == errno.EACCES:
        return (
            "not permitted. Run the tests as root, through tests/lib/with_ports.py, "
            "or allow it: sysctl net.ipv4.ip_unprivileged_port_start=443"
        )
    if error.errno == errno.EADDRINUSE:
        return "another program listens there; stop it, or run the tests through tests/lib/with_ports.py"
    return str(error)


@contextlib.contextmanager
def running_dev(directory: pathlib.Path, ports: str = "standard", hubs: int = 2):
    """Yields a `MusterDev` on the `standard`, `high` or `free` ports, and afterwards demands a clean exit."""
    if ports == "standard":
        require_standard_ports()
    allow_many_sockets()
    dev = start(directory, ports, hubs)
    try:
        yield dev
    finally:
        stop(dev.process, directory)


def allow_many_sockets() -> None:
    """Raises the soft limit on open files to the hard one, for thousands of idle connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def start(directory: pathlib.Path, ports: str, hubs: int = 2) -> MusterDev:
    """Starts `muster dev --dir DIRECTORY --ports PORTS --hubs HUBS` and waits until dev.json is there."""
    facts = directory / "dev.json"
    facts.unlink(missing_ok=True)
    with open(directory / "dev.log", "ab") as log:
        process = subprocess.Popen(
            [str(binary()), "dev", "--dir", str(directory), "--ports", ports, "--hubs", str(hubs)],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        return parse_facts(process, directory, wait_for_facts(process, facts))
    except BaseException:
        process.kill()
        process.wait()
        raise


def wait_for_facts(process: subprocess.Popen, facts: pathlib.Path) -> dict:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DevFailure(f"muster dev ended with {process.returncode} before it was ready:\n{log_tail(facts.parent)}")
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return json.loads(facts.read_text(encoding="utf-8"))
        time.sleep(0.05)
    raise DevFailure(f"muster dev wrote no dev.json within {START_SECONDS} s:\n{log_tail(facts.parent)}")


def parse_facts(process: subprocess.Popen, directory: pathlib.Path, facts: dict) -> MusterDev:
    try:
        return MusterDev(
            process=process,
            directory=directory,
            id_scope=facts["idScope"],
            device_endpoint=facts["deviceEndpoint"],
            https_port=facts["ports"]["https"],
            mqtts_port=facts["ports"]["mqtts"],
            amqps_port=facts["ports"]["amqps"],
            service_connection_string=facts["serviceConnectionString"],
            management_connection_string=facts["managementConnectionString"],
            ca_file=str(directory / facts["caFile"]),
            hubs=tuple(Hub(hub["name"], hub["hostName"], hub["connectionString"]) for hub in facts["hubs"]),
            sample_group_id=facts["sampleEnrollmentGroup"]["enrollmentGroupId"],
            sample_group_key=facts["sampleEnrollmentGroup"]["primaryKey"],
        )
    except KeyError as missing:
        raise DevFailure(f"dev.json lacks {missing}: {json.dumps(facts, indent=2)}") from missing


def stop(process: subprocess.Popen, directory: pathlib.Path) -> None:
    """Stops it by SIGTERM, and requires exit status 0 in time."""
    if process.poll() is not None:
        raise DevFailure(f"muster dev died during the tests with {process.returncode}:\n{log_tail(directory)}")
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise DevFailure(f"muster dev still ran {STOP_SECONDS} s after SIGTERM:\n{log_tail(directory)}") from None
    if code != 0:
        raise DevFailure(f"muster dev ended with {code} after SIGTERM:\n{log_tail(directory)}")


def log_tail(directory: pathlib.Path) -> str:
    """The last lines that `muster dev` printed."""
    text = (directory / "dev.log").read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.splitlines()[-40:])


def sdk_environment(dev: MusterDev) -> dict[str, str]:
    """Returns environment variables by which SDKs without an option for CAs trust this server, and use no proxy."""
    return {
        "NODE_EXTRA_CA_CERTS": dev.ca_file,
        "REQUESTS_CA_BUNDLE": dev.ca_file,
        "NO_PROXY": "127.0.0.0/8,localhost",
        "no_proxy": "127.0.0.0/8,localhost",
    }


def main(arguments: list[str]) -> int:
    """Runs `arguments` beside a fresh `muster dev`; the exit status is the command's."""
    if arguments[:1] != ["--"] or len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="muster-dev-") as directory:
        try:
            with running_dev(pathlib.Path(directory)) as dev:
                return subprocess.call(arguments[1:], env=command_environment(dev))
        except DevFailure as failure:
            print(f"error: {failure}", file=sys.stderr)
            return 1


def command_environment(dev: MusterDev) -> dict[str, str]:
    """Returns the environment of a program that is not Python and uses this server."""
    own = {
        "MUSTER_BIN": str(binary()),
        "MUSTER_DEV_JSON": str(dev.directory / "dev.json"),
        "MUSTER_TEST_PYTHON": sys.executable,
    }
    return {**os.environ, **sdk_environment(dev), **own}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
