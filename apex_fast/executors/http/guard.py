"""Which hosts and addresses may be reached.

The rule: an `http` node talks to the public internet and to what `http.allow_hosts` names; never to loopback,
private, link-local, metadata, multicast or reserved addresses. Addresses after IANA's special-purpose registries
(RFC 6890 and updates), names after RFC 6761, 6762 and 8375. An IPv6 address that carries an IPv4 one (mapped,
compatible, 6to4, NAT64, Teredo) is judged by both.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

# 168.63.129.16 is public by its number, and the door to the metadata of Azure.
BLOCKED_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
        "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
        "240.0.0.0/4",
    )
)  # fmt: skip
GLOBAL_V6: Final = IPv6Network("2000::/3")
BLOCKED_V6: Final = tuple(
    IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20", "5f00::/16")
)
NAT64: Final = IPv6Network("64:ff9b::/96")
COMPATIBLE: Final = IPv6Network("::/96")
# A name of one label, or under one of these, is nobody's in the public DNS.
LOCAL_NAMES: Final = (
    "localhost", "local", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa", "localdomain",
    "in-addr.arpa", "ip6.arpa", "test", "invalid", "onion",
)  # fmt: skip
# The last label of what some parser reads as an IPv4 address (WHATWG URL, "ends in a number").
NUMBER: Final = re.compile(r"(?:[0-9]+|0[xX][0-9a-fA-F]*)")
LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def refusal_of_address(text: str) -> str | None:
    """Why an IP address may not be reached; None where it may. Text that is no address is refused."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return f"{text} is not an IP address"
    if isinstance(address, IPv4Address):
        return _refusal_of_v4(address)
    inside = _carried(address)
    if inside is not None:
        refusal = _refusal_of_v4(inside)
        return None if refusal is None else f"{address} stands for {inside}: {refusal}"
    if address not in GLOBAL_V6 or any(address in network for network in BLOCKED_V6):
        return f"{address} is not a public address"
    return None


def _refusal_of_v4(address: IPv4Address) -> str | None:
    for network in BLOCKED_V4:
        if address in network:
            return f"{address} is not a public address ({network})"
    return None


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that traffic to this IPv6 address may end at."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        # Teredo itself is no destination for us (2001::/32); the server's address says nothing better.
        return IPv4Address(0)
    if address in NAT64 or address in COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def refusal_of_host(host: str) -> str | None:
    """Why the host of a URL may not be asked for, before anything is resolved; None where it may.

    ``host``: as it is connected to, in ASCII, an IPv6 address without brackets.
    """
    if ":" in host:
        return refusal_of_address(host)
    name = host.rstrip(".").lower()
    labels = name.split(".")
    if NUMBER.fullmatch(labels[-1]):
        # Only the canonical form of an IPv4 address means the same to every parser.
        try:
            return _refusal_of_v4(IPv4Address(host))
        except ValueError:
            return f"{host} is neither a name nor an IPv4 address in its usual form"
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        return f"{host} is not a host name"
    if len(labels) == 1:
        return f"{host} is a local name"
    for suffix in LOCAL_NAMES:
        if name == suffix or name.endswith("." + suffix):
            return f"{host} is a local name (.{suffix})"
    return None


class Guard:
    """The exceptions of `http.allow_hosts`: `host`, `host:port`, `*.domain`, `[v6]:port`, or `*` for everything.

    An exception is for the host as the URL names it: a public name that resolves to an allowed address is refused.
    Raises ValueError for an entry that cannot be read.
    """

    def __init__(self, allow_hosts: Sequence[str]) -> None:
        self._allowed: list[tuple[str, int | None]] = [_entry(text) for text in allow_hosts]

    def allows(self, host: str, port: int) -> bool:
        """Whether the settings allow this host and port, whatever its address is."""
        name = host.rstrip(".").lower()
        for pattern, only_port in self._allowed:
            if only_port is not None and only_port != port:
                continue
            if pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:])):
                return True
        return False


def _entry(text: str) -> tuple[str, int | None]:
    host, port = text.strip().lower(), None
    if host.startswith("["):
        host, closed, after = host[1:].partition("]")
        port = after[1:] if after.startswith(":") else None
        if not closed or (after and port is None):
            raise ValueError(f"http.allow_hosts: {text!r} is not host, host:port, *.domain or [v6]:port")
        host = str(IPv6Address(host))
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"http.allow_hosts: {text!r} has no valid port")
    if not host:
        raise ValueError(f"http.allow_hosts: {text!r} names no host")
    return host.rstrip("."), None if port is None else int(port)
