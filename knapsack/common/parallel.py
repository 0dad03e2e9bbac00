"""An ordered map over processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

_state: Any = None  # of this worker: set once, then given to the function before every item


def _call(function: Callable[..., Any], item: Any) -> Any:
    return function(item) if _state is None else function(_state, item)


def _follow(parent: int) -> None:
    """A worker whose parent was killed would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _start_worker(state: Any) -> None:
    global _state
    _state = state
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def available_cores() -> int:
    return len(os.sched_getaffinity(0))


def ordered_map(function: Callable[..., Any], items: Iterable[Any], workers: int, state: Any = None) -> Iterator[Any]:
    """function(item), or function(state, item), of every item: in the order of the items, whatever the number of
    processes. At most four items a process are under way, so that an endless input is read no faster than it is used.
    The processes are forked, so a state may be large: it is not copied. `function` is one that pickle finds by
    name: of a module, or of the state's class. More processes than cores are never started."""
    workers = min(workers, available_cores())
    if workers <= 1:
        yield from map(function, items) if state is None else (function(state, item) for item in items)
        return
    pool = ProcessPoolExecutor(workers, get_context("fork"), _start_worker, (state,))
    under_way: deque = deque()
    try:
        for item in items:
            under_way.append(pool.submit(_call, function, item))
            if len(under_way) >= 4 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
