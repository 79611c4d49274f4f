"""How often a tool may be called."""

import re
from collections.abc import Mapping

UNITS = {"s": 1, "min": 60, "h": 3_600}
_RATE = re.compile(r"([0-9]{1,7})/([0-9]{0,7})(s|min|h)", re.ASCII)

Rate = str | Mapping[str, float]


def rate_document(rate: Rate) -> dict[str, float]:
    """A rate as it stands in a definition: ``"10/s"``, ``"100/min"``, ``"5/2s"``, or ``{count, per_s, burst}``.

    Raises ValueError where it is none.
    """
    if not isinstance(rate, str):
        return dict(rate)
    found = _RATE.fullmatch(rate.replace(" ", ""))
    if found is None or not int(found[1]) or (found[2] and not int(found[2])):
        raise ValueError(f"{rate!r} is no rate: write it as 10/s, 100/min or 5/2s")
    return {"count": int(found[1]), "per_s": int(found[2] or 1) * UNITS[found[3]]}
