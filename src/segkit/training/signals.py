"""Ctrl-C and SIGTERM inside a run: finish the step, save, then go the way the signal meant."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopSignals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While entered (in the main thread), the first SIGINT or SIGTERM only sets `received`; a second one acts at once.

    On leaving, the earlier handlers are back; call `deliver` to raise `KeyboardInterrupt` or to send SIGTERM on.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # What is ignored, as Ctrl-C is in the background, stays so; None is a handler that Python did not set.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self._restore()
            self.received = number
            self.deliver()
        self.received = number

    def deliver(self) -> None:
        """Do what the signal that came means, to whoever handled it before; nothing if none came."""
        if self.received == signal.SIGINT and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            raise KeyboardInterrupt
        if self.received is not None:
            os.kill(os.getpid(), self.received)
