"""How far a job is, on stderr: a bar on a terminal; elsewhere, as in a log, a line a minute."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

EVERY_SECONDS = 60.0  # in a log


class Progress:
    """`update(done, note)` as often as wanted; the bar goes away at close(), or with the `with` block."""

    def __init__(self, label: str, total: float | None = None) -> None:
        self.label, self.start = label, time.monotonic()
        self.terminal, self.next_line = sys.stderr.isatty(), self.start + EVERY_SECONDS
        form = "{desc} |{bar:20}| {percentage:3.0f} %{postfix}" if total else "{desc}{postfix}"
        self.bar = tqdm(
            desc=label, total=total, bar_format=form, leave=False, disable=not self.terminal, dynamic_ncols=True
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.start, 1e-9)

    def update(self, done: float, note: str) -> None:
        if self.terminal:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(done - self.bar.n)
        elif time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + EVERY_SECONDS
            print(f"{self.label}: {note}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        self.bar.write(text, file=sys.stdout)

    def close(self) -> None:
        self.bar.close()
