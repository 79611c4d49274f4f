"""The front desk: it decides nothing.

Holds what stands between the front door (bytes) and the engine (commands): admission, the tables of gRPC methods
and HTTP routes, translation both ways, one table of problems, and the viewers of live streams.
May know: the domain, the engine, the planner, `apex_fast.wire`. Never: an adapter, an executor, a file, a socket.
In: batches of requests from `Front`, durable replies and events from the engine. Out: one batch of answers per
turn of the loop.
"""

from apex_fast.gateway.door import Door
from apex_fast.gateway.house import GatewayOptions, House

__all__ = ["Door", "GatewayOptions", "House"]
