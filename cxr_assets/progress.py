"""How long work tells people where it stands: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Advance = Callable[..., None]


@dataclass
class Progress:
    """Reports the steps of named tasks.

    Args:
        log: called with one line a task every ``every`` seconds and at its end; None for a bar on the terminal (or
            for lines on stderr where that is no terminal).
        quiet: report nothing.
    """

    log: Callable[[str], None] | None = None
    every: float = 10.0
    quiet: bool = False

    @contextlib.contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Yield ``advance(n=1, note="")`` for a task of ``total`` steps, ``done`` of them already there."""
        if self.quiet:
            yield lambda n=1, note="": None
        elif self.log is None and sys.stderr.isatty():
            yield from self._bar(name, total, done)
        else:
            yield from self._lines(name, total, done)

    def say(self, text: str) -> None:
        """One line of plain information."""
        if not self.quiet:
            (self.log or _stderr)(text)

    def _bar(self, name: str, total: int, done: int) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(name, total=total, completed=done, note="")
            yield lambda n=1, note="": bar.update(task, advance=n, note=note)

    def _lines(self, name: str, total: int, done: int) -> Iterator[Advance]:
        log = self.log or _stderr
        begun = told = time.monotonic()
        last = ""

        def advance(n: int = 1, note: str = "") -> None:
            nonlocal done, told, last
            done, last = done + n, note
            now = time.monotonic()
            if now - told >= self.every:
                told = now
                log(f"{name}: {done}/{total} {note}".rstrip())

        yield advance
        log(f"{name}: {done}/{total} in {time.monotonic() - begun:.1f} s {last}".rstrip())


def _stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
