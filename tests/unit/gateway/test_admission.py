"""Who may come in: hosts, origins, tenants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_fast.errors import Forbidden
from apex_fast.gateway.admission import Hosts, tenant_of


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:7400", "127.0.0.1:80", "127.8.9.1", "[::1]:7400", "app.localhost", "api.example.com:1"],
)
def test_hosts_that_are_served(host: str) -> None:
    Hosts(["api.example.com"]).admit("GET", {"host": host})


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "0x7f.1.evil", "10.0.0.1", "[::2]", "a:b:c", "[",
     "2130706433", "api.example.com.evil.example"],
)  # fmt: skip
def test_hosts_that_are_not(host: str) -> None:
    with pytest.raises(Forbidden) as caught:
        Hosts(["api.example.com"]).admit("GET", {"host": host})
    assert caught.value.code == "HOST_REFUSED"


@pytest.mark.parametrize(
    ("origin", "is_ours"),
    [
        (None, True),
        ("http://localhost:7400", True),
        ("https://api.example.com", True),
        ("http://localhost:3000", False),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
        ("file://", False),
        ("http://[", False),
    ],
)
def test_foreign_pages_change_nothing(origin: str | None, is_ours: bool) -> None:
    hosts = Hosts(["api.example.com"])
    headers = {"host": "localhost:7400"} | ({} if origin is None else {"origin": origin})
    hosts.admit("GET", headers)
    if is_ours:
        hosts.admit("POST", headers)
    else:
        with pytest.raises(Forbidden) as caught:
            hosts.admit("POST", headers)
        assert caught.value.code == "ORIGIN_REFUSED"


def test_every_host_can_be_allowed_and_foreign_origins_still_are_not() -> None:
    hosts = Hosts(["*"])
    hosts.admit("POST", {"host": "any.example", "origin": "https://any.example"})
    with pytest.raises(Forbidden):
        hosts.admit("POST", {"host": "any.example", "origin": "https://evil.example"})


@given(st.text(), st.text())
def test_no_header_breaks_the_check(host: str, origin: str) -> None:
    code = ""
    try:
        Hosts().admit("POST", {"host": host, "origin": origin})
    except Forbidden as error:
        code = error.code
    assert code in {"", "HOST_REFUSED", "ORIGIN_REFUSED"}


def test_the_tenant_is_the_callers() -> None:
    assert tenant_of({}) == "default"
    assert tenant_of({"apex-tenant": "default"}) == "default"
    with pytest.raises(Forbidden) as caught:
        tenant_of({"apex-tenant": "other"})
    assert caught.value.code == "TENANT_MISMATCH"
