"""What the pages use of curl, for machines that have none.

    curl [-sSNi] [-X METHOD] [-H HEADER] [-d BODY] [-o FILE] URL

Run as a script. Bytes are written as they come, so a stream is a stream. Exit code 7 where nobody listens, as curl's.
"""

import argparse
import http.client
import sys
from urllib.parse import urlsplit

COULD_NOT_CONNECT = 7
CHUNK_BYTES = 65_536


def main() -> int:
    """One request."""
    words = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    for flag in ("-s", "-S", "-N", "-i"):
        words.add_argument(flag, action="store_true")
    words.add_argument("-X", dest="method")
    words.add_argument("-H", dest="headers", action="append", default=[])
    words.add_argument("-d", dest="body")
    words.add_argument("-o", dest="file")
    words.add_argument("url")
    asked = words.parse_args()
    place = urlsplit(asked.url if "://" in asked.url else f"http://{asked.url}")
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    method = asked.method or ("GET" if asked.body is None else "POST")
    headers = {name.strip(): value.strip() for name, _, value in (header.partition(":") for header in asked.headers)}
    try:
        connection.request(
            method,
            (place.path or "/") + (f"?{place.query}" if place.query else ""),
            None if asked.body is None else asked.body.encode(),
            headers,
        )
    except OSError as error:
        print(f"curl: ({COULD_NOT_CONNECT}) {error}", file=sys.stderr)
        return COULD_NOT_CONNECT
    answer = connection.getresponse()
    with open(asked.file or sys.stdout.fileno(), "wb") as out:
        if asked.i:
            head = "".join(f"{name}: {value}\r\n" for name, value in answer.getheaders())
            out.write(f"HTTP/1.1 {answer.status} {answer.reason}\r\n{head}\r\n".encode())
        while chunk := answer.read1(CHUNK_BYTES):
            out.write(chunk)
            out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
