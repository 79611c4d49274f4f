"""How often a failed attempt is tried again."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

ErrorType: TypeAlias = str | type[BaseException]


def _name(kind: ErrorType) -> str:
    return kind if isinstance(kind, str) else kind.__name__


class Retry:
    """The retry policy of a function or node, as `retry` in a definition.

    The wait before attempt n+1 is ``initial_s * factor**(n-1)``, at most ``max_s``, then spread by ``jitter`` (0.2:
    up to 20 % more or less). ``max_attempts`` counts the first one. ``non_retryable``: exception classes or names of
    error types that are not tried again; the name is compared, so a subclass has to be named itself. ``by_error``:
    policies of their own for some types, ``{RateLimited: Retry(10, initial_s=5)}``; a key is a class, a name, or a
    tuple of them, and the first that names the type wins. Raises ValueError where a number makes no sense.
    """

    __slots__ = ("by_error", "factor", "initial_s", "jitter", "max_attempts", "max_s", "non_retryable")

    def __init__(
        self,
        max_attempts: int = 3,
        *,
        initial_s: float = 0.2,
        factor: float = 2.0,
        max_s: float = 30.0,
        jitter: float = 0.2,
        non_retryable: Sequence[ErrorType] = (),
        by_error: Mapping[ErrorType | tuple[ErrorType, ...], "Retry"] | None = None,
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
        self.non_retryable = tuple(map(_name, non_retryable))
        self.by_error: tuple[tuple[tuple[str, ...], Retry], ...] = tuple(
            (tuple(map(_name, types if isinstance(types, tuple) else (types,))), policy)
            for types, policy in (by_error or {}).items()
        )
        for types, policy in self.by_error:
            if policy.non_retryable or policy.by_error:
                raise ValueError(
                    f"Retry(by_error={{{types}: …}}): the policy of a class of errors has no classes itself"
                )
            if both := set(types) & set(self.non_retryable):
                raise ValueError(f"Retry: {', '.join(sorted(both))} stands in non_retryable and in by_error")

    def document(self) -> dict[str, object]:
        """The policy as it stands in a definition."""
        stated: dict[str, object] = {**self._numbers(), "non_retryable": list(self.non_retryable)}
        if self.by_error:
            stated["by_error"] = [{"types": list(types), **policy._numbers()} for types, policy in self.by_error]
        return stated

    def _numbers(self) -> dict[str, object]:
        return {
            "max_attempts": self.max_attempts,
            "initial_s": self.initial_s,
            "factor": self.factor,
            "max_s": self.max_s,
            "jitter": self.jitter,
        }

    def __repr__(self) -> str:
        return f"Retry({', '.join(f'{name}={value!r}' for name, value in self.document().items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Retry) and self.document() == other.document()

    def __hash__(self) -> int:
        return hash((*self._numbers().values(), self.non_retryable, self.by_error))
