"""HTTP: a file per group of routes, one table from which requests are routed and OpenAPI is made.

In: method, path, query, headers and the whole body. Out: JSON, problem documents (RFC 9457), or a stream of
events. A handler never waits: it answers from a callback, or works in a task.
"""
