"""The table of routes: one row serves requests and is described in OpenAPI."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from apex_fast.errors import InvalidInput, NotRunning
from apex_fast.gateway.http.exchange import Exchange

Handler = Callable[[Exchange], None]


@dataclass(frozen=True)
class Answer:
    """A good answer of a route."""

    status: int
    description: str
    body: type | None = None
    media_type: str = "application/json"
    headers: Mapping[str, str] | None = None
    """Name -> description."""


@dataclass(frozen=True)
class Route:
    """A row. ``pattern`` has parameters as `{name}`; a route with a ``capability`` is refused as not running."""

    method: str
    pattern: str
    operation: str
    summary: str
    group: str
    handler: Handler
    answers: Sequence[Answer] = ()
    body: type | None = None
    query: type | None = None
    many: frozenset[str] = frozenset()
    """Query parameters that may come more than once."""
    headers: Mapping[str, str] | None = None
    """Request headers that it reads: name -> description."""
    problems: Sequence[str] = ()
    """Codes that it answers, beside those that every route may answer."""
    body_required: bool = True
    running: bool = True


def deferred(method: str, pattern: str, operation: str, summary: str, capability: str) -> Route:
    """A route of the contract that this version refuses (501), saying which capability is missing."""

    def refuse(_exchange: Exchange) -> None:
        raise NotRunning(f"{method} {pattern} is not running in this version: {capability}")

    return Route(method, pattern, operation, summary, "later", refuse, problems=("NOT_RUNNING_YET",), running=False)


class Router:
    """Finds the row of a request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        # number of segments -> [(segments with None for a parameter, names, method -> row)]
        self._by_length: dict[int, list[tuple[tuple[str | None, ...], dict[str, Route]]]] = {}
        self._fixed: dict[str, dict[str, Route]] = {}
        by_shape: dict[tuple[str | None, ...], dict[str, Route]] = {}
        for route in routes:
            segments = route.pattern.split("/")[1:]
            shape = tuple(None if segment.startswith("{") else segment for segment in segments)
            rows = by_shape.get(shape)
            if rows is None:
                rows = by_shape[shape] = {}
                if None in shape:
                    self._by_length.setdefault(len(shape), []).append((shape, rows))
                else:
                    self._fixed[route.pattern] = rows
            if route.method in rows:
                raise ValueError(f"{route.method} {route.pattern} stands twice in the table")
            rows[route.method] = route
        for shapes in self._by_length.values():
            # The more is fixed, the earlier.
            shapes.sort(key=lambda item: sum(segment is None for segment in item[0]))

    def find(self, path: str) -> dict[str, Route] | None:
        """Method -> row for a path that is still percent-encoded; None where there is no such route."""
        rows = self._fixed.get(path)
        if rows is not None:
            return rows
        segments = path.split("/")[1:]
        for shape, rows in self._by_length.get(len(segments), ()):
            if all(
                (segment != "" if fixed is None else fixed == segment)
                for fixed, segment in zip(shape, segments, strict=True)
            ):
                return rows
        return None


def params_of(route: Route, path: str) -> dict[str, str]:
    """The parameters of a path, decoded. Raises InvalidInput where they are not UTF-8."""
    params: dict[str, str] = {}
    for name, value in zip(route.pattern.split("/"), path.split("/"), strict=True):
        if name.startswith("{"):
            try:
                params[name[1:-1]] = unquote(value, errors="strict")
            except UnicodeDecodeError:
                raise InvalidInput("the path is not UTF-8") from None
    return params


def allowed(rows: Mapping[str, Route]) -> str:
    """The `Allow` header."""
    methods = {*rows, "OPTIONS"} | ({"HEAD"} if "GET" in rows else set())
    return ", ".join(sorted(methods))
