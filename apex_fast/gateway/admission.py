"""Who may come in, and as whom.

In: metadata or headers. Out: the tenant, or Forbidden. There are no credentials yet: everyone is the tenant
`default`, which is why the house listens on loopback unless it is told otherwise.
Source for the checks of Host and Origin: RFC 9110, section 7.2; the DNS rebinding and cross-site request attacks.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from apex_fast.errors import Forbidden

DEFAULT_TENANT = "default"
CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def tenant_of(metadata: Mapping[str, str]) -> str:
    """The tenant of the caller: the one place that authentication will change.

    Raises Forbidden (TENANT_MISMATCH) where the request names another one.
    """
    if "apex-tenant" in metadata and metadata["apex-tenant"] != DEFAULT_TENANT:
        raise Forbidden(f"the caller's tenant is {DEFAULT_TENANT!r}; the request names another", code="TENANT_MISMATCH")
    return DEFAULT_TENANT


def host_name(host: str) -> str:
    """Host of a Host header without its port, in lower case; empty where it cannot be read."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(name: str) -> bool:
    """Whether a name can only mean this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Hosts:
    """Names that requests may be addressed to: loopback, the bound address, and those that are configured.

    ``*`` among them accepts every name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(host_name(name) or name for name in names)
        self._known: dict[str, bool] = {}

    def accepts(self, host: str) -> bool:
        """Whether a Host header, or the host of an origin, is one of ours."""
        known = self._known.get(host)
        if known is None:
            name = host_name(host)
            known = bool(name) and (is_loopback(name) or name in self._names or "*" in self._names)
            if len(self._known) < 1_024:
                self._known[host] = known
        return known

    def admit(self, method: str, headers: Mapping[str, str]) -> None:
        """Raises Forbidden: HOST_REFUSED, or ORIGIN_REFUSED for a change that a foreign page asks for."""
        if not self.accepts(headers.get("host", "")):
            raise Forbidden(
                "the Host header names a host that is not served here; add it to server.allow_hosts",
                code="HOST_REFUSED",
            )
        if method in CHANGING:
            origin = headers.get("origin")
            if origin is not None and not self._same_house(origin, headers["host"]):
                raise Forbidden("a page of another origin may not change anything here", code="ORIGIN_REFUSED")

    def _same_house(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            return False
        # Another port of this machine is another origin; "*" opens the Host check, never this one.
        return parts.netloc.lower() == host.lower() or host_name(parts.netloc) in self._names
