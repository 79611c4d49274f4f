"""The types of error that an `http` node can end with. The class's name is the type in the event.

HttpFailure
├── InvalidRequest     the request cannot be sent: method, URL, header or body             no retry
├── MissingSecret      a header names a secret that is not there                           no retry
├── BlockedAddress     the host, or the address it resolves to, may not be reached         no retry
├── ConnectFailed      no connection: name, route, refusal, TLS                            retry
├── ConnectionLost     it broke off before the answer was complete                         retry
├── TooManyRedirects   more than http.redirects_max, or one without a place to go          no retry
├── ResponseTooLarge   the body is larger than http.response_bytes_max                     no retry
├── InvalidResponse    no HTTP, or a body that is not what its headers say                 retry
└── StatusFailure      a status that was not expected; the type is its name: NotFound, TooManyRequests,
                       ServiceUnavailable (RFC 9110). Retry for 408, 425, 429 and 5xx but 501 and 505
"""

from http import HTTPStatus
from typing import ClassVar


class HttpFailure(Exception):
    """``type`` as in the event; ``retryable``: None leaves it to the node's policy, False says that it is no use."""

    retryable: ClassVar[bool | None] = None

    @property
    def type(self) -> str:
        """The name of the class."""
        return type(self).__name__


class InvalidRequest(HttpFailure):
    """The request cannot be sent as it is."""

    retryable = False


class MissingSecret(InvalidRequest):
    """A header names a secret that is not there."""


class BlockedAddress(HttpFailure):
    """The host, or the address that it resolves to, may not be reached."""

    retryable = False


class ConnectFailed(HttpFailure):
    """No connection came about."""


class ConnectionLost(HttpFailure):
    """The connection broke off before the answer was complete."""


class TooManyRedirects(HttpFailure):
    """More redirects than are followed, or one without a place to go."""

    retryable = False


class ResponseTooLarge(HttpFailure):
    """The body is larger than it may be."""

    retryable = False


class InvalidResponse(HttpFailure):
    """No HTTP, or a body that is not what its headers say."""


class StatusFailure(HttpFailure):
    """A status that was not expected."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def type(self) -> str:
        """`NotFound` for 404; `HttpStatus` for a number without a name."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            return "HttpStatus"
        return "".join(word[:1].upper() + word[1:] for word in phrase.replace("-", " ").replace("'", "").split())

    @property
    def retry_helps(self) -> bool | None:
        """None (the policy decides) where the server may answer otherwise later, else False."""
        later = self.status in (408, 425, 429) or (self.status >= 500 and self.status not in (501, 505))
        return None if later else False
