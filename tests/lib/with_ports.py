"""Runs a command where ports 443, 8883 and 5671 of the loopback addresses can be bound.

    python tests/lib/with_ports.py COMMAND ARGUMENT…

As root on a free machine that is here. For another user, or when a web server already has 443, it is a network
namespace of its own, in which nothing but loopback exists. Where neither is possible the command runs all the
same, so that the harness tells what to do.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys

import muster_dev

# linux/sockios.h and linux/if.h
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
NAMESPACE = ["unshare", "--map-root-user", "--net"]
INSIDE = "--inside"


def main(arguments: list[str]) -> None:
    """Executes the command, in a network namespace if necessary and possible."""
    if arguments[:1] == [INSIDE]:
        raise_loopback()
        command = arguments[1:]
    elif ports_are_free() or not namespaces_are_permitted():
        command = arguments
    else:
        command = [*NAMESPACE, sys.executable, __file__, INSIDE, *arguments]
    os.execvp(command[0], command)


def ports_are_free() -> bool:
    try:
        muster_dev.require_standard_ports()
    except muster_dev.DevFailure:
        return False
    return True


def namespaces_are_permitted() -> bool:
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def raise_loopback() -> None:
    """Brings `lo` up, which starts down in a new namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(control, SIOCGIFFLAGS, request))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    main(sys.argv[1:])
