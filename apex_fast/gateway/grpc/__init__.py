"""gRPC: a file per service, one table of methods.

In: a token, metadata and the bytes of a message. Out: bytes through the outbox. A handler never waits: it submits
and answers from a callback. What a handler raises becomes a status with details (`problems.py`).
"""
