"""Listening sockets and their addresses, and why a port cannot be had."""

import errno
import socket
from contextlib import suppress

from pillsnap.errors import MachineError


def listen(host: str, port: int, command: str) -> socket.socket:
    """A listening socket; MachineError says who holds the port, with a `command` that works."""
    try:
        return _bound(host, port)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise MachineError(
                f"--host {host} is not an address of this machine ({error.strerror}).",
                f"Use this machine only: {command} --host 127.0.0.1 --port {port}",
            ) from None
        with _bound(host, 0) as other:
            free = other.getsockname()[1]
        raise MachineError(
            f"Port {port} on {host} cannot be used: {error.strerror}{_holder(port)}.",
            f"Use a port that is free: {command} --port {free}",
        ) from None


def address(host: str, port: int) -> str:
    """The URL of a server; one that listens on all addresses is named as this machine."""
    host = local(host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def local(host: str) -> str:
    """A name under which this machine reaches a server that listens on `host`."""
    return "localhost" if host in ("0.0.0.0", "::", "") else host


def _bound(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, target = found[0]
    return socket.create_server(target[:2], family=family)


def _holder(port: int) -> str:
    with suppress(ImportError):  # not among the packages that serving alone needs
        import psutil

        with suppress(psutil.Error, OSError):
            for connection in psutil.net_connections("tcp"):
                held = getattr(connection.laddr, "port", None)
                if connection.status == psutil.CONN_LISTEN and held == port and connection.pid:
                    name = psutil.Process(connection.pid).name()
                    return f" (held by {name}, pid {connection.pid})"
    return ""
