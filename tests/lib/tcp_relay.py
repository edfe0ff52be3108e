"""Passes TCP connections on, so that a server at any port is found at the standard one."""

from __future__ import annotations

import contextlib
import socket
import threading


@contextlib.contextmanager
def relay(address: str, port: int, to_port: int):
    """Listens on `address:port` and passes everything on to `address:to_port`, until the block ends."""
    with socket.create_server((address, port)) as listener:
        threading.Thread(target=_accept, args=(listener, (address, to_port)), daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, target: tuple[str, int]) -> None:
    # The listener's end is the end.
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(target)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    # A connection that breaks down is closed on both sides.
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
