"""Worker processes that share a machine's cores."""

from __future__ import annotations


def keep_to_one_core() -> None:
    """Initialiser of a worker: its linear algebra takes one thread, as there is a worker for every core.

    Two workers of two threads each draw phantom films at half the speed of two workers of one.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
