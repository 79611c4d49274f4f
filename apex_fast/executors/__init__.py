"""Where work is done: one folder per kind of job.

    queue         what waits, fair by tenant, then by priority
    beats         heartbeats on their way there, the newest of each job
    outbox        results on their way to the engine's loop, in batches
    loop_thread   an event loop in a thread of its own
    function/     registered Python callables
    http/         requests, behind a guard
    correction/   questions to a model for another input

In: `Job`s from the engine. Out: one `JobResult` for each, in batches. Keeps the promises of `ports/executor.py`.
Decides nothing: whether a failure is tried again is the machine's business. User code runs here and nowhere else.
"""
