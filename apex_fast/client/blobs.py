"""Large values over HTTP: the address of the gateway serves both."""

import io
from dataclasses import dataclass

import aiohttp
import msgspec

from apex_fast.errors import ApexError, Unavailable, error_of


@dataclass(frozen=True)
class Blob:
    """A content that the gateway keeps."""

    address: str
    """``sha256:`` and the hash of the content."""
    bytes: int
    existing: bool
    """It was there before."""

    @property
    def value(self) -> dict[str, str]:
        """What stands for it in inputs and outputs."""
        return {"$blob": self.address}


class _Stored(msgspec.Struct):
    address: str
    bytes: int


class _Detail(msgspec.Struct):
    pointer: str
    detail: str


class _Problem(msgspec.Struct):
    code: str
    detail: str = ""
    errors: list[_Detail] = []
    retry_after_s: float | None = None


def _error_from(status: int, body: bytes) -> ApexError:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.MsgspecError:
        return Unavailable(f"the gateway answered {status} and no problem document")
    places = [(place.pointer, place.detail) for place in problem.errors]
    return error_of(problem.code, problem.detail, errors=places, retry_after_s=problem.retry_after_s)


class BlobConnection:
    """The HTTP side of a client; opened when it is first used."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._base = f"http://{address}"
        self._timeout = aiohttp.ClientTimeout(total=timeout_s or None)
        self._session: aiohttp.ClientSession | None = None

    async def put(self, content: bytes, expected: str) -> Blob:
        """Store a content."""
        query = {"address": expected} if expected else None
        status, body = await self._ask("PUT", "/blobs", query, content)
        stored = msgspec.json.decode(body, type=_Stored)
        return Blob(stored.address, stored.bytes, status == 200)

    async def get(self, address: str) -> bytes:
        """Read a content."""
        return (await self._ask("GET", f"/blobs/{address}"))[1]

    async def _ask(
        self, method: str, path: str, query: dict[str, str] | None = None, content: bytes | None = None
    ) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(self._base, timeout=self._timeout)
        # As a file: large bytes as they are would be sent in one go, and aiohttp warns of it.
        payload = None if content is None else io.BytesIO(content)
        try:
            async with self._session.request(method, path, params=query, data=payload) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{method} {path}: {str(error) or 'no answer in time'}") from error
        if answer.status not in {200, 201}:
            raise _error_from(answer.status, body)
        return answer.status, body

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()
