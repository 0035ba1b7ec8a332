"""Loopback ports, taken before anything is started, so that a taken port costs nothing and leaves
nothing.
"""

from __future__ import annotations

import socket

from worker.refusal import CannotStart
from worker.settings import PREFIX

LOOPBACK = "127.0.0.1"
_WITHIN_S = 5


def listen(host: str, port: int, *, what: str, setting: str) -> socket.socket:
    """Bind a listening socket (port 0: any free one); raises CannotStart where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"Port {port} on {host} cannot be used for {what} ({(error.strerror or '').lower()}): "
            f"stop what uses it or set {PREFIX}{setting.upper()}."
        ) from error
    listener.setblocking(False)
    return listener


def free_port(port: int, *, what: str, setting: str) -> int:
    """Check that a child will be able to bind the port; port 0 becomes a free one.

    That one is given to nobody else for a minute, neither to listen on nor to connect from.
    """
    with listen(LOOPBACK, port, what=what, setting=setting) as probe:
        number: int = probe.getsockname()[1]
        if port == 0:
            _keep_from_others(probe)
        return number


def _keep_from_others(probe: socket.socket) -> None:
    """Leave a connection in TIME_WAIT: who asks for any port is not given this one, who asks for
    this one gets it.
    """
    probe.settimeout(_WITHIN_S)
    with socket.create_connection(probe.getsockname(), timeout=_WITHIN_S) as near:
        far, _ = probe.accept()
        far.close()
        near.recv(1)
