"""Three nodes of `muster serve` on one PostgreSQL behind HAProxy, with the hubs of a running `muster dev`.

Nothing is sticky. One address of the load balancer forwards connections, each to the next node. The other one ends TLS and
forwards requests, each to the next node.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import re
import shutil
import ssl
import subprocess
import urllib.request

import dev_ca
import muster_dev
import postgres
import processes

NODES = 3
# Of the load balancer, with the ports that SDKs use.
BY_CONNECTION, BY_REQUEST = "127.0.0.21", "127.0.0.22"
PORTS = {"https": 443, "mqtts": 8883, "amqps": 5671}
ID_SCOPE = "0neC1C1C1C1"
KEY = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="
CA_FILES = ("ca.pem", "ca.key", "ca-rsa.pem", "ca-rsa.key")


@dataclasses.dataclass(frozen=True)
class Node:
    """One process of the service."""

    number: int
    directory: pathlib.Path
    # By protocol, and of the metrics.
    ports: dict[str, int]

    @property
    def log(self) -> pathlib.Path:
        """What it logs."""
        return self.directory / f"node-{self.number}.log"

    def answers(self, outcome: str | None = None) -> int:
        """Returns the number of replies to register and poll calls, of one outcome or of all."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}/metrics") as reply:
            text = reply.read().decode()
        counts = re.findall(r'^muster_device_answers_total\{.*outcome="(.*)"\} (\d+)$', text, re.MULTILINE)
        return sum(int(count) for name, count in counts if outcome in (None, name))

    def is_ready(self) -> bool:
        """Whether it may be sent devices."""
        untrusting = ssl._create_unverified_context()  # its certificate names the load balancer
        with contextlib.suppress(OSError):
            url = f"https://127.0.0.1:{self.ports['https']}/readyz"
            return urllib.request.urlopen(url, context=untrusting).status == 200
        return False


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Running nodes, as clients see them through the load balancer."""

    nodes: tuple[Node, ...]
    by_connection: muster_dev.MusterDev
    by_request: muster_dev.MusterDev

    def answers(self, outcome: str | None = None) -> list[int]:
        """Returns the number of replies to devices of each node."""
        return [node.answers(outcome) for node in self.nodes]


@contextlib.contextmanager
def running(dev: muster_dev.MusterDev, directory: pathlib.Path):
    """Yields a `Cluster`, whose nodes afterwards end cleanly."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres.running())
        certificate = dev_ca.issue(dev, directory, BY_CONNECTION, BY_REQUEST)
        nodes = tuple(start_node(stack, dev, number, directory, database, certificate) for number in range(NODES))
        balance(stack, nodes, directory, certificate)
        views = (view(dev, directory, address) for address in (BY_CONNECTION, BY_REQUEST))
        yield Cluster(nodes, *views)


def start_node(stack, dev, number: int, directory: pathlib.Path, database: str, certificate: tuple[str, str]) -> Node:
    """Starts a node, and waits until it is ready."""
    node = Node(number, directory, dict(zip((*PORTS, "metrics"), processes.free_ports(len(PORTS) + 1))))
    config = directory / f"node-{number}.toml"
    config.write_text(configuration(dev, node, database, certificate))
    if number == 0:
        init = [str(muster_dev.binary()), "store", "init", "--config", str(config)]
        subprocess.run(init, cwd=directory, check=True)
    log = stack.enter_context(node.log.open("wb"))
    command = [str(muster_dev.binary()), "serve", "--config", str(config), "--log", "info"]
    process = stack.enter_context(processes.running(command, directory, log))
    processes.wait_until(lambda: process.poll() is not None or node.is_ready(), f"see {node.log}")
    assert process.poll() is None, node.log.read_text()
    return node


def configuration(dev, node: Node, database: str, certificate: tuple[str, str]) -> str:
    listen = "".join(f'{protocol} = "127.0.0.1:{node.ports[protocol]}"\n' for protocol in PORTS)
    links = "".join(
        f'[[instance.linked_hub]]\nconnection_string = "{hub.connection_string}"\nca = "{dev.ca_file}"\n'
        for hub in dev.hubs
    )
    return (
        f'data_dir = "node-{node.number}"\nmaster_key_file = "master.key"\nstore = "{database}"\n'
        f"[listen]\n{listen}"
        f'[metrics]\nlisten = "127.0.0.1:{node.ports["metrics"]}"\n'
        f'[webhook]\nca = "{dev.ca_file}"\n'
        f'[[tls]]\ncertificate = "{certificate[0]}"\nkey = "{certificate[1]}"\n'
        f'[[instance]]\nname = "cluster"\nid_scope = "{ID_SCOPE}"\n'
        f'service_hosts = ["{BY_CONNECTION}", "{BY_REQUEST}"]\n'
        f'[[instance.access_policy]]\nname = "owner"\nprimary_key = "{KEY}"\nsecondary_key = "{KEY}"\n'
        f'rights = "ServiceConfig, EnrollmentWrite, RegistrationStatusWrite"\n{links}'
    )


def balance(stack, nodes: tuple[Node, ...], directory: pathlib.Path, certificate: tuple[str, str]) -> None:
    """Starts the load balancer, and waits for its ports."""
    both = directory / "balancer.pem"
    both.write_text("".join(pathlib.Path(file).read_text() for file in certificate))
    config = directory / "haproxy.cfg"
    config.write_text(balancer_configuration(nodes, both))
    log = stack.enter_context((directory / "haproxy.log").open("wb"))
    stack.enter_context(processes.running([processes.haproxy(), "-db", "-f", str(config)], directory, log))
    for address, ports in ((BY_CONNECTION, PORTS.values()), (BY_REQUEST, [PORTS["https"]])):
        for port in ports:
            processes.wait_for(port, address)


def balancer_configuration(nodes: tuple[Node, ...], certificate: pathlib.Path) -> str:
    def servers(protocol: str, options: str) -> str:
        return "".join(
            f"  server node{node.number} 127.0.0.1:{node.ports[protocol]} {options.format(node.number)}\n" for node in nodes
        )

    checked = "option httpchk GET /readyz"
    check = "check check-ssl verify none inter 500ms"
    sections = [
        "global\n  maxconn 1000\n"
        "defaults\n  balance roundrobin\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n",
        f"listen https\n  mode tcp\n  bind {BY_CONNECTION}:443\n  {checked}\n{servers('https', check)}",
    ]
    for protocol in ("mqtts", "amqps"):
        bind = f"bind {BY_CONNECTION}:{PORTS[protocol]}"
        sections.append(f"listen {protocol}\n  mode tcp\n  {bind}\n{servers(protocol, 'track https/node{}')}")
    bind = f"bind {BY_REQUEST}:443 ssl crt {certificate}"
    sections.append(f"listen requests\n  mode http\n  {bind}\n{servers('https', 'ssl verify none track https/node{}')}")
    return "".join(sections)


def view(dev, directory: pathlib.Path, address: str) -> muster_dev.MusterDev:
    """Returns the cluster at this address as if it were an emulator, with a folder for what reads its dev.json."""
    folder = directory / address
    folder.mkdir()
    for file in CA_FILES:
        shutil.copy(dev.directory / file, folder)
    connection_string = f"HostName={address};SharedAccessKeyName=owner;SharedAccessKey={KEY}"
    facts = json.loads((dev.directory / "dev.json").read_text())
    facts |= {"idScope": ID_SCOPE, "deviceEndpoint": address, "serviceConnectionString": connection_string}
    (folder / "dev.json").write_text(json.dumps(facts))
    return muster_dev.parse_facts(dev.process, folder, facts)
