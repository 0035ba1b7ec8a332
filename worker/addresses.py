"""What a text names on the network: a host and port, an origin, a database. Looks nothing up, and
never repeats a text that may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_ORIGIN: Final = re.compile(
    r"https?://(?:\[(?P<six>[0-9a-f:]+)\]|[a-z0-9._-]*[a-z0-9][a-z0-9._-]*)(?::(?P<port>\d{1,5}))?"
)
_ADDRESS: Final = re.compile(r"^(?P<host>\[[0-9a-fA-F:]+\]|[^\s:/@]+):(?P<port>\d{1,5})$")


def asyncpg_url(url: str) -> str:
    """The same database through the one driver we use."""
    return make_url(url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def parsed_url(text: str) -> URL | None:
    """A database URL that a driver can work with, or None."""
    # SQLAlchemy's own sentences quote what it took for a port: often a part of the password.
    try:
        url = make_url(text)
        url.set(drivername="postgresql+asyncpg").get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError):
        return None
    if "@" in f"{url.host or ''}{url.database or ''}":
        return None
    return url if url.port is None or url.port in range(1, 65536) else None


def is_loopback(address: str) -> bool:
    """Whether `host:port` (or a bare host) can only be reached from this machine."""
    match = _ADDRESS.match(address)
    host = (match["host"] if match else address).strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_host_and_port(text: str) -> bool:
    """Whether `text` is `host:port` with a port that exists."""
    match = _ADDRESS.match(text)
    return match is not None and 0 < int(match["port"]) <= 65535


def is_origin(text: str) -> bool:
    """Whether `text` is exactly what a browser calls an origin: `scheme://host[:port]`."""
    match = _ORIGIN.fullmatch(text)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        return False
    return match["six"] is None or is_ip_address(match["six"])


def is_ip_address(host: str) -> bool:
    """Whether `host` is an IP address, of either version."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
