"""Runs registered Python callables.

    executor     promises of the port: takes jobs, answers each once, watches for stalls
    coroutines   async functions, on a loop in a thread of its own
    threads      plain functions, in a bounded pool of threads
    outcome      what a call gave or raised, as a `JobResult`

A function that stalls the loop is named and fails; the thread is left behind and its neighbours run again on a new
one. A thread that does not come back from a cancelled call is left behind too. Both are bounded.
"""

from apex_fast.executors.function.executor import FunctionExecutor

__all__ = ["FunctionExecutor"]
