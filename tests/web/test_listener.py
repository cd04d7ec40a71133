"""Listening sockets: why one cannot be had, and cures that work."""

import os
import socket
import sys

import pytest

from pillsnap.errors import MachineError
from pillsnap.web import listener
from pillsnap.web.listener import address, listen

COMMAND = "pillsnap monitor"


def asked_again(cure: str) -> tuple[str, int]:
    words = cure.split(f"{COMMAND} ")[1].split()
    options = dict(zip(words[::2], words[1::2], strict=True))
    return options.get("--host", "127.0.0.1"), int(options["--port"])


def test_a_taken_port_is_refused_with_its_holder_and_a_free_one(monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(MachineError, match=f"Port {port} on .* pid {os.getpid()}") as refused:
            listen("127.0.0.1", port, COMMAND)
        listen(*asked_again(refused.value.cure), COMMAND).close()
        monkeypatch.setitem(sys.modules, "psutil", None)  # serving alone does not need it
        with pytest.raises(MachineError, match="cannot be used"):
            listen("127.0.0.1", port, COMMAND)


@pytest.mark.parametrize("host", ["999.999.999.999", "192.0.2.1"])
def test_a_host_without_interface_is_refused_with_one_that_works(host: str) -> None:
    with pytest.raises(MachineError, match=f"--host {host} is not an address") as refused:
        listen(host, 0, COMMAND)
    listen(*asked_again(refused.value.cure), COMMAND).close()


@pytest.mark.parametrize(
    ("host", "name"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "localhost"), ("::", "localhost"), ("::1", "[::1]")],
)
def test_an_address_can_be_opened_on_this_machine(host: str, name: str) -> None:
    assert address(host, 80) == f"http://{name}:80/"
    assert listener.local(host) == name.strip("[]")
