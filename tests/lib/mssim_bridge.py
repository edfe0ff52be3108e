"""A TPM as Microsoft's simulator offers one, with swtpm behind it: what tss.js dials, and other SDKs' simulators.

    python tests/lib/mssim_bridge.py

It starts an empty TPM, prints the command port on one line, and serves until its standard input ends. The simulator's
protocol is two TCP ports, commands and the next one for platform signals; numbers are big-endian.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HOST = "127.0.0.1"
SEND_COMMAND, HANDSHAKE, SESSION_END = 8, 15, 20
HANDSHAKE_REPLY = struct.pack(">III", 1, 0, 0)
DONE = bytes(4)
START_SECONDS = 20


class Swtpm:
    """The TPM itself. It takes one connection, so commands of several clients take turns."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    def run(self, command: bytes) -> bytes:
        with self._turn:
            self._connection.sendall(command)
            header = read(self._connection, 10)
            (size,) = struct.unpack(">I", header[2:6])
            return header + read(self._connection, size - len(header))


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def serve_commands(client: socket.socket, tpm: Swtpm) -> None:
    while True:
        (kind,) = struct.unpack(">I", read(client, 4))
        if kind == HANDSHAKE:
            read(client, 4)
            client.sendall(HANDSHAKE_REPLY)
        elif kind == SEND_COMMAND:
            _locality, size = struct.unpack(">BI", read(client, 5))
            reply = tpm.run(read(client, size))
            client.sendall(struct.pack(">I", len(reply)) + reply + DONE)
        elif kind == SESSION_END:
            return
        else:
            client.sendall(DONE)


def serve_signals(client: socket.socket, _tpm: Swtpm) -> None:
    """Answers commands of the platform, such as power: swtpm is on."""
    while True:
        read(client, 4)
        client.sendall(DONE)


def serve(listener: socket.socket, handler, tpm: Swtpm) -> None:
    def handle(client: socket.socket) -> None:
        with client, contextlib.suppress(EOFError, ConnectionError):
            handler(client, tpm)

    while True:
        client, _ = listener.accept()
        threading.Thread(target=handle, args=(client,), daemon=True).start()


def listen_on_two_ports() -> tuple[socket.socket, socket.socket]:
    while True:
        commands = socket.create_server((HOST, 0))
        with contextlib.suppress(OSError, OverflowError):
            return commands, socket.create_server((HOST, commands.getsockname()[1] + 1))
        commands.close()


@contextlib.contextmanager
def running_swtpm(directory: str):
    """Yields a `Swtpm` whose process ends with the context."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={directory}", "--server", f"type=tcp,port={port}"]
        + ["--flags", "not-need-init,startup-clear"],
        stdin=subprocess.DEVNULL,
    )
    try:
        with connected(port) as connection:
            yield Swtpm(connection)
    finally:
        process.kill()
        process.wait()


def connected(port: int) -> socket.socket:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return socket.create_connection((HOST, port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="muster-mssim-") as directory, running_swtpm(directory) as tpm:
        commands, signals = listen_on_two_ports()
        for listener, handler in ((commands, serve_commands), (signals, serve_signals)):
            threading.Thread(target=serve, args=(listener, handler, tpm), daemon=True).start()
        print(commands.getsockname()[1], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
