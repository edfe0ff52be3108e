"""Programs that tests run beside their own: start, wait for a listener, stop."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time

START_SECONDS = 60


def haproxy() -> str:
    """The program, which Debian does not put on every user's path."""
    return shutil.which("haproxy") or "/usr/sbin/haproxy"


@contextlib.contextmanager
def running(command, directory, log):
    """Runs a program until the end of the context, which stops it by SIGTERM."""
    process = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


def wait_for(port: int, address: str = "127.0.0.1") -> None:
    """Waits until the port has a listener."""

    def connects() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
            return True
        return False

    wait_until(connects, f"no listener on {address}:{port}")


def wait_until(holds, otherwise: str) -> None:
    """Waits until the function returns something true."""
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]
