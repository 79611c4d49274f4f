"""How often a failed attempt is tried again."""

from collections.abc import Sequence


class Retry:
    """The retry policy of a function or node, as `retry` in a definition.

    The wait before attempt n+1 is ``initial_s * factor**(n-1)``, at most ``max_s``, then spread by ``jitter`` (0.2:
    up to 20 % more or less). ``max_attempts`` counts the first one. ``non_retryable``: exception classes or names of
    error types that are not tried again; the name is compared, so a subclass has to be named itself.
    Raises ValueError where a number makes no sense.
    """

    __slots__ = ("factor", "initial_s", "jitter", "max_attempts", "max_s", "non_retryable")

    def __init__(
        self,
        max_attempts: int = 3,
        *,
        initial_s: float = 0.2,
        factor: float = 2.0,
        max_s: float = 30.0,
        jitter: float = 0.2,
        non_retryable: Sequence[str | type[BaseException]] = (),
    ) -> None:
        if max_attempts < 1:
            raise ValueError(f"Retry(max_attempts={max_attempts}): the first attempt counts, so at least 1")
        if not 0 <= initial_s <= max_s < float("inf"):
            raise ValueError(f"Retry(initial_s={initial_s}, max_s={max_s}): needs 0 <= initial_s <= max_s, finite")
        if not 1 <= factor < float("inf"):
            raise ValueError(f"Retry(factor={factor}): at least 1, finite")
        if not 0 <= jitter <= 1:
            raise ValueError(f"Retry(jitter={jitter}): between 0 and 1")
        self.max_attempts = max_attempts
        self.initial_s = initial_s
        self.factor = factor
        self.max_s = max_s
        self.jitter = jitter
        self.non_retryable = tuple(kind if isinstance(kind, str) else kind.__name__ for kind in non_retryable)

    def document(self) -> dict[str, object]:
        """The policy as it stands in a definition."""
        return {
            "max_attempts": self.max_attempts,
            "initial_s": self.initial_s,
            "factor": self.factor,
            "max_s": self.max_s,
            "jitter": self.jitter,
            "non_retryable": list(self.non_retryable),
        }

    def __repr__(self) -> str:
        return f"Retry({', '.join(f'{name}={value!r}' for name, value in self.document().items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Retry) and self.document() == other.document()

    def __hash__(self) -> int:
        return hash((self.max_attempts, self.initial_s, self.factor, self.max_s, self.jitter, self.non_retryable))
