"""An event loop in a thread of its own, which can be left behind when it is stuck."""

import asyncio
import ctypes
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvloop

log = logging.getLogger(__name__)


class Abandoned(SystemExit):
    """Raised in a thread that was left behind, to end what holds it. `except Exception` does not catch it."""


def interrupt(thread: threading.Thread) -> None:
    """Raise `Abandoned` in a thread at its next byte code; inside a C call it does not notice until that returns."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Abandoned))


class LoopThread:
    """A uvloop in a daemon thread. Nothing that runs on it ends it but `stop` and `abandon`."""

    def __init__(self, name: str) -> None:
        self.loop = uvloop.new_event_loop()
        self.abandoned = False
        self._stopping = False
        self.thread = threading.Thread(target=self._main, name=name, daemon=True)
        self.thread.start()

    def post(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call back on the loop; nothing happens once it is closed."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(callback, *arguments)

    def frame(self) -> FrameType | None:
        """What the thread executes at this moment."""
        return None if self.thread.ident is None else sys._current_frames().get(self.thread.ident)

    def abandon(self) -> None:
        """Leave the thread behind: it is interrupted, and ends as soon as what holds it lets go."""
        self.abandoned = True
        interrupt(self.thread)
        self.post(self.loop.stop)

    def stop(self) -> None:
        """End the loop after what is ready now; tasks that are left are cancelled."""
        self._stopping = True
        self.post(self.loop.stop)

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not (self._stopping or self.abandoned):
            try:
                self.loop.run_forever()
            except BaseException as error:
                # A task that the user started raised SystemExit or KeyboardInterrupt: it ends itself, not the house.
                if not isinstance(error, Abandoned):
                    log.warning("a background task of a function raised %s; the loop goes on", type(error).__name__)
        # What is said about tasks that are cut off here was said when the thread was left behind.
        self.loop.set_exception_handler(lambda _, context: log.debug("a loop is left: %s", context.get("message")))
        with suppress(BaseException):
            self._cancel_all()
        with suppress(BaseException):
            self.loop.close()

    def _cancel_all(self) -> None:
        """Give cancelled tasks a second to clean up."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        until_s = time.monotonic() + 1.0
        while (left := [task for task in tasks if not task.done()]) and time.monotonic() < until_s:
            with suppress(RuntimeError):  # a `stop` of before was still on its way
                self.loop.run_until_complete(asyncio.wait(left, timeout=0.5))
