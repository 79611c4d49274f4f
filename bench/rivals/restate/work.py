"""The works as a Restate service: each step is a ``ctx.run``, journaled before the next one begins.

The ASGI application also answers ``/finished`` with the number of 1-step runs that came to their end, so that
the driver learns when the backlog of ``starts`` is worked off without asking the server.
"""

import restate

from bench.rivals.works import CHAIN_LENGTH, FAN_WIDTH

service = restate.Service("bench")
finished_runs = 0


async def step(value: int) -> int:
    """The no-op step."""
    return value + 1


@service.handler()
async def single(ctx: restate.Context, value: int) -> int:
    """One step."""
    global finished_runs
    result = await ctx.run_typed("only", step, value=value)
    finished_runs += 1
    return result


@service.handler()
async def chain(ctx: restate.Context, value: int) -> int:
    """Steps in a row."""
    for link in range(CHAIN_LENGTH):
        value = await ctx.run_typed(f"link{link}", step, value=value)
    return value


@service.handler()
async def fan(ctx: restate.Context, value: int) -> int:
    """One step, many at once, one step."""
    first = await ctx.run_typed("first", step, value=value)
    leaves = [ctx.run_typed(f"leaf{leaf}", step, value=first) for leaf in range(FAN_WIDTH)]
    await restate.gather(*leaves)
    return await ctx.run_typed("last", step, value=sum([await leaf for leaf in leaves]))


restate_app = restate.app([service], protocol="bidi")


async def app(scope, receive, send):  # type: ignore[no-untyped-def]
    """Restate's application, and ``/finished`` beside it."""
    if scope["type"] == "http" and scope["path"] == "/finished":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(finished_runs).encode()})
        return
    await restate_app(scope, receive, send)
