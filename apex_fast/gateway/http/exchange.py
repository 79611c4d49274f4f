"""One HTTP request and its answer."""

from collections.abc import Callable, Coroutine, Mapping
from typing import TypeVar

import msgspec

from apex_fast.errors import ApexError, InvalidInput
from apex_fast.gateway.admission import tenant_of
from apex_fast.gateway.bodies import read_body, read_query
from apex_fast.gateway.faults import fault_of
from apex_fast.gateway.house import House

T = TypeVar("T")

JSON: list[tuple[str, str]] = [
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
]


class Exchange:
    """A request as a handler sees it. It is answered exactly once."""

    __slots__ = ("_house", "body", "head", "headers", "params", "path", "query", "tenant", "token")

    def __init__(
        self,
        house: House,
        token: int,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        params: Mapping[str, str],
        head: bool,
    ) -> None:
        self._house = house
        self.token = token
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.params = params
        self.head = head
        """HEAD: the answer of GET without its body."""
        self.tenant = tenant_of(headers)

    # --- the request ----------------------------------------------------------------------------------------------

    def read(self, decoder: "msgspec.json.Decoder[T]") -> T:
        """The body. Raises InvalidInput with the pointer, code MEDIA_TYPE_UNSUPPORTED (415) for what is not JSON."""
        self.check_media_type()
        return read_body(self.body, decoder)

    def check_media_type(self) -> None:
        """Refuse a body that does not say that it is JSON."""
        given = self.headers.get("content-type", "")
        kind, _, parameters = given.partition(";")
        charset = parameters.strip().lower().replace('"', "")
        if kind.strip().lower() != "application/json" or charset not in {"", "charset=utf-8"}:
            raise InvalidInput(
                f"the body is {given[:80] or 'of no type'!r}; application/json is expected",
                code="MEDIA_TYPE_UNSUPPORTED",
            )

    def select(self, kind: type[T], many: frozenset[str] = frozenset()) -> T:
        """The query string."""
        return read_query(self.query, kind, many)

    # --- the answer -----------------------------------------------------------------------------------------------

    def answer(self, status: int, value: object, headers: list[tuple[str, str]] | None = None) -> None:
        """JSON."""
        body = msgspec.json.encode(value)
        self.answer_bytes(status, JSON + headers if headers else JSON, body)

    def answer_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Anything."""
        self._house.outbox.http(self.token, status, headers, b"" if self.head else body)

    def fail(self, error: ApexError) -> None:
        """A problem document."""
        self._house.outbox.http_error(self.token, error)

    def when_durable(self, show: Callable[[], None]) -> None:
        """Run ``show`` once what was read is durable; what it raises is answered."""
        self._house.engine.when_durable(self.guarded(show))

    def guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        """``work``, answering what it raises."""

        def run() -> None:
            try:
                work()
            except Exception as error:
                self.fail(fault_of(error))

        return run

    def beside(self, work: Coroutine[object, object, None]) -> None:
        """Work in a task; what it raises is answered."""
        self._house.beside(work, self.fail)
