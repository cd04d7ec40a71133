"""A proxy that serves an upstream under /pills/, as nginx does with
`location /pills/ { proxy_pass http://127.0.0.1:PORT/; }`: prefix stripped, the upstream's Host."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PREFIX = b"/pills/"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def in_front_of(port: int, websockets: bool) -> Iterator[str]:
    """Yields the address of the page; nginx passes WebSockets only when configured."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, port, websockets), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/pills/"
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, port: int, websockets: bool) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            arguments = (client, port, websockets)
            threading.Thread(target=_serve, args=arguments, daemon=True).start()


def _serve(client: socket.socket, port: int, websockets: bool) -> None:
    with client, suppress(OSError):
        received = b""
        while b"\r\n\r\n" not in received:
            part = client.recv(65536)
            if not part:
                return
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        method, path, rest = head.split(b" ", 2)
        if not path.startswith(PREFIX):
            client.sendall(NOT_FOUND)
            return
        rest = re.sub(rb"(?im)^host: .*$", b"Host: 127.0.0.1:%d\r" % port, rest)
        if not websockets or b"\r\nupgrade: websocket" not in rest.lower():
            rest = re.sub(rb"(?im)^(connection|upgrade): .*\r\n", b"", rest + b"\r\n").rstrip()
            rest += b"\r\nConnection: close"
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            upstream.sendall(
                b"%s /%s %s\r\n\r\n" % (method, path.removeprefix(PREFIX), rest) + body
            )
            threading.Thread(target=_relay, args=(client, upstream), daemon=True).start()
            _relay(upstream, client)


def _relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)
