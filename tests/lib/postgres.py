"""A PostgreSQL server on the loopback address, with files of its own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import processes

# Where Debian installs the versions, each in a folder named by its number.
DEBIAN = pathlib.Path("/usr/lib/postgresql")
# The user of Debian's package.
SERVER_USER = "postgres"


@contextlib.contextmanager
def running():
    """Runs a server, and yields the URL of its empty database."""
    identity = Identity()
    with tempfile.TemporaryDirectory(prefix="muster-pg-") as folder:
        identity.own(folder)
        identity.run("initdb", "--auth=trust", "--locale=C", "--encoding=UTF8", "--username=postgres", "--no-sync",
                     "--pgdata", f"{folder}/data")
        [port] = processes.free_ports(1)
        server = identity.start(
            "postgres", "-D", f"{folder}/data", "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1",
            "-c", "fsync=off", "-c", "shared_buffers=32MB", log=pathlib.Path(folder) / "log",
        )
        try:
            processes.wait_for(port)
            yield f"postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=processes.START_SECONDS)


class Identity:
    """The user that the programs run as: PostgreSQL refuses root.

    Root of the machine becomes the user of the package. Root of a namespace in which no other user exists
    (`with_ports.py`) becomes an ordinary user in a namespace within.
    """

    def __init__(self) -> None:
        is_root = os.geteuid() == 0
        only_root = is_root and sum(int(line.split()[2]) for line in open("/proc/self/uid_map")) == 1
        self._prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"] if only_root else []
        self._user = SERVER_USER if is_root and not only_root else None

    def own(self, folder: str) -> None:
        """Gives the user a folder."""
        if self._user is not None:
            shutil.chown(folder, self._user, self._user)

    def run(self, program: str, *arguments: str) -> None:
        """Runs a program to its end, which must be a success."""
        subprocess.run(self._command(program, arguments), check=True, capture_output=True, **self._options())

    def start(self, program: str, *arguments: str, log: pathlib.Path) -> subprocess.Popen:
        """Starts a program, whose output goes to the log."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self._command(program, arguments), stdout=output, stderr=output, **self._options()
            )

    def _command(self, program: str, arguments: tuple[str, ...]) -> list[str]:
        return [*self._prefix, str(folder_of_programs() / program), *arguments]

    def _options(self) -> dict:
        user = {} if self._user is None else {"user": self._user, "group": self._user, "extra_groups": []}
        return {"cwd": "/", "stdin": subprocess.DEVNULL, "env": {**os.environ, "LC_ALL": "C"}, **user}


def folder_of_programs() -> pathlib.Path:
    """Returns the folder with the programs of the newest version."""
    installed = [folder for folder in DEBIAN.glob("*/bin") if (folder / "initdb").is_file()]
    if installed:
        return max(installed, key=lambda folder: int(folder.parent.name))
    in_path = shutil.which("initdb")
    assert in_path, "PostgreSQL is not installed: run tests/install"
    return pathlib.Path(in_path).parent
