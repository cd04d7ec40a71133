"""A server of the test's own process on a loopback port, and raw connections to it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pillsnap.web.listener import listen
from pillsnap.web.server import Server


@contextmanager
def running(server: Server, port: int = 0) -> Iterator[int]:
    """Run a server in a thread; yields its port, a free one where `port` is 0."""
    listener = listen("127.0.0.1", port, "pillsnap")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def connection(port: int, sent: bytes = b"", receive_buffer_bytes: int = 0) -> socket.socket:
    raw = socket.socket()
    raw.settimeout(20)
    if receive_buffer_bytes:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    raw.connect(("127.0.0.1", port))
    raw.sendall(sent)
    return raw


def answer_to(request: bytes, port: int) -> bytes:
    """All that comes back until the server closes, b"" where it just closes."""
    answer = b""
    with connection(port) as raw:
        with suppress(OSError):  # it may close before all is sent
            raw.sendall(request)
            raw.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while part := raw.recv(65536):
                answer += part
    return answer


def closed_by_server(raw: socket.socket) -> bool:
    """Waits for the end of a connection; True once the server has ended it."""
    with suppress(OSError):
        while raw.recv(65536):
            pass
    return True
