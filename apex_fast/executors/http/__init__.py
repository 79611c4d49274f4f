"""Makes the requests of `http` nodes.

    executor   promises of the port: takes jobs, answers each once, on a loop in a thread of its own
    request    what a node asks for, checked before anything is sent
    guard      which hosts and addresses may be reached; asked for the address really connected to, at every hop
    exchange   one attempt: connect, send, follow redirects, read within limits
    failure    the types of error that a node can end with

Never reads a proxy, cookie or password from its environment. A secret is put into a header when the request is sent
and dropped when a redirect leaves the origin; it never stands in an error.
"""

from apex_fast.executors.http.executor import HttpExecutor

__all__ = ["HttpExecutor"]
