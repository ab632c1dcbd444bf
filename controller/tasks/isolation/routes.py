"""Which addresses a build step may reach: the public world, minus what is near.

The result is a batch for `ip -batch -`, run inside the build's network namespace after slirp4netns
has configured it (its own network is 10.0.2.0/24: gateway 10.0.2.2, name server 10.0.2.3; the more
specific route wins over what is blackholed here).
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from collections.abc import Sequence

from controller.tasks.errors import PhaseFailed

GATEWAY = "10.0.2.2"
NAME_SERVER = "10.0.2.3"

# https://www.iana.org/assignments/iana-ipv4-special-registry: everything that is not the public
# Internet. IPv6 is off in slirp4netns unless asked for.
_NEAR = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)


def batch(allow: Sequence[str]) -> str:
    """The routes, one command a line. `allow` are CIDRs that stay reachable.

    Raises PhaseFailed(NetworkIsolationUnavailable) where the host's addresses cannot be listed or
    an allowed range is malformed.
    """
    try:
        allowed = [ipaddress.ip_network(cidr) for cidr in allow]
    except ValueError as error:
        raise PhaseFailed(
            "NetworkIsolationUnavailable", f"pack variable build_network_allow: {error}"
        ) from error
    closed = [ipaddress.ip_network(cidr) for cidr in _NEAR]
    closed += [ipaddress.ip_network(address) for address in _host_addresses()]
    lines = [
        f"route replace blackhole {network}"
        for network in dict.fromkeys(closed)
        if network not in allowed
    ]
    lines += [
        f"route replace {network} via {GATEWAY}" for network in allowed if network.version == 4
    ]
    return "\n".join(lines) + "\n"


def _host_addresses() -> list[str]:
    """The host's own IPv4 addresses: services bound to all interfaces answer there."""
    try:
        listed = subprocess.run(
            ["ip", "-json", "-4", "address"],
            check=True,
            timeout=10,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        ).stdout
        found = [info["local"] for link in json.loads(listed) for info in link["addr_info"]]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise PhaseFailed(
            "NetworkIsolationUnavailable", f"the node's addresses cannot be listed: {error}"
        ) from error
    # In a container with a network of its own these are the container's: Nomad tells the node's.
    found += filter(None, [os.environ.get("NBS_NODE_ADDRESS")])
    closed = [ipaddress.ip_address(address) for address in found]
    return [str(one) for one in closed if one.version == 4 and not one.is_loopback]
