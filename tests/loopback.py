"""Ports of the loopback network that tests can name before anybody listens there."""

import socket
from contextlib import suppress
from random import SystemRandom

# Below the range from which the kernel serves "any port" and outgoing connections (Linux: 32768 and up), so that no
# other test, in this process or in one beside it, gets one of these by chance; above what browsers refuse to call.
_PORTS = range(10_100, 32_768)
_random = SystemRandom()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, nor will until the test has somebody do so."""
    while True:
        port = _random.choice(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
