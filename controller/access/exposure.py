"""Whether the service would serve everybody: without credentials, on an address others reach."""

from __future__ import annotations

import ipaddress
import socket

from controller.settings import SettingError, Settings


def check(settings: Settings) -> None:
    """Refuse to be open to a network by accident. Raises SettingError."""
    if settings.auth_modes or settings.allow_anonymous or is_loopback(settings.bind):
        return
    raise SettingError(
        f"setting bind: {settings.bind!r} is reached from outside this host, and auth_mode none "
        "asks callers for no credential. Set auth_mode (nomad or jwt), or bind to 127.0.0.1, or "
        "set allow_anonymous to true where only trusted callers reach this address"
    )


def is_loopback(host: str) -> bool:
    """Whether only this host reaches an address or a name; every address of it counts."""
    if not host:
        return False  # all interfaces
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False  # binding will say what is wrong with it, once it is meant to be open
    addresses = (ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found)
    return all(address.is_loopback for address in addresses)
