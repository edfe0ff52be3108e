"""A TCP relay from a standard port to any server, which can cut its connections."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Listens on `address:port` and passes everything on to `address:to_port`."""

    def __init__(self, address: str, port: int, to_port: int) -> None:
        self._target = address, to_port
        self._listener = socket.create_server((address, port))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Breaks all connections, as a failing network does, and returns their number."""
        pairs = self._pairs.copy()
        for pair in pairs:
            _shut(pair)
        return len(pairs)

    def close(self) -> None:
        """Closes the listener and all connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        # The listener was closed.
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:
            # Nothing listens there now; a later client may succeed.
            client.close()
            return
        pair = client, server
        self._pairs.add(pair)
        for source, sink in (pair, pair[::-1]):
            threading.Thread(target=self._pass_on, args=(pair, source, sink), daemon=True).start()

    def _pass_on(self, pair: tuple[socket.socket, socket.socket], source: socket.socket, sink: socket.socket) -> None:
        # A connection that fails is closed on both sides.
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        self._pairs.discard(pair)
        _shut([sink])


def _shut(connections) -> None:
    for connection in connections:
        # It may have ended by itself.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def relay(address: str, port: int, to_port: int):
    """A `Relay` until the block ends."""
    opened = Relay(address, port, to_port)
    try:
        yield opened
    finally:
        opened.close()
