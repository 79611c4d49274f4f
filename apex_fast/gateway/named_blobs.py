"""Blobs that inputs name, of a start or a schedule: each must be there, so that no run fails hours later over a typo.

A value is a name where it is an object with the one member `$blob`, a string.
"""

from collections.abc import Iterator

import msgspec

from apex_fast.domain import LogError
from apex_fast.errors import ApexError, LimitExceeded
from apex_fast.gateway.bodies import invalid, token_of
from apex_fast.ports.blobs import Blobs

MEMBER = "$blob"
NAMED_MAX = 256
"""Different ones in one request. Each is a look at the disk, a few of which fit between two turns."""

_MARK = b'"$blob"'


def check_named(blobs: Blobs | None, tenant: str, inputs: bytes, pointer: str) -> None:
    """Refuse inputs (JSON) that name a blob which the tenant does not have. Costs a search where they name none.

    Raises InvalidInput (BLOB_NOT_FOUND) with the pointer; LimitExceeded.
    """
    if _MARK not in inputs or blobs is None:
        return
    seen: set[str] = set()
    for place, address in _named(msgspec.json.decode(inputs), pointer):
        if address in seen:
            continue
        if len(seen) == NAMED_MAX:
            raise LimitExceeded(f"the inputs name more than {NAMED_MAX} blobs")
        seen.add(address)
        try:
            is_there = blobs.size(tenant, address) is not None
        except LogError as error:
            raise ApexError(error.message, code="BLOB_DAMAGED") from error
        if not is_there:
            raise invalid(place, f"there is no blob {address[:80]!r}: put it first", code="BLOB_NOT_FOUND")


def _named(value: object, pointer: str) -> Iterator[tuple[str, str]]:
    """(Pointer, address) of each, in no particular order."""
    ahead = [(pointer, value)]
    while ahead:
        place, found = ahead.pop()
        if isinstance(found, list):
            ahead += [(f"{place}/{index}", item) for index, item in enumerate(found)]
        elif isinstance(found, dict):
            address = found.get(MEMBER)
            if len(found) == 1 and isinstance(address, str):
                yield place, address
            else:
                ahead += [(place + token_of(name), item) for name, item in found.items()]
