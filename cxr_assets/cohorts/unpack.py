"""The one table in a packed file, unpacked in steps and no further than a table is long."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from cxr_assets.errors import InputError

LARGEST = 2 * 2**30
"""Bytes that a packed table may hold. PadChest, the largest that is published packed, holds 0.1 GB."""
_EASY = 2**26
"""Bytes that a packed table may hold however small it is packed."""
_DENSEST = 200
"""Times that a larger table may be packed; tables of films are by five to fifty, what repeats one byte by a thousand."""
_STEP = 2**24


def unpacked(data: bytes, path: Path, *, cohort: str) -> bytes:
    """The text in a file's bytes: gzipped if its name ends in ``.gz``, alone in a zip if it ends in ``.zip``.

    Raises:
        InputError: where it is not packed as its name says, or holds more than ``most_of`` its size.
    """
    try:
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                return _bounded(stream.read, len(data), path, cohort)
        if path.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                tables = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
                if len(tables) != 1:
                    raise InputError(
                        f"cohort {cohort!r}: {path.name} holds {len(tables)} files, expected one table."
                        " Unpack it, and leave the table. Nothing was written."
                    )
                with archive.open(tables[0]) as stream:
                    return _bounded(stream.read, len(data), path, cohort)
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        packing = {".gz": "gzip", ".zip": "zip"}[path.suffix]
        raise InputError(
            f"cohort {cohort!r}: {path.name} is no {packing} file ({error}). Nothing was written."
        ) from error
    return data


def most_of(packed: int) -> int:
    """Bytes that a file of ``packed`` bytes may unpack to."""
    return min(LARGEST, max(_EASY, _DENSEST * packed))


def too_large(path: Path, packed: int, *, cohort: str) -> InputError:
    """The complaint about a file of ``packed`` bytes that holds more than it may."""
    return InputError(
        f"cohort {cohort!r}: {path.name} has {packed:,} bytes and unpacks to more than {most_of(packed):,}, which no table"
        " of films does. See what is in it; if it is a table after all, keep it as plain text. Nothing was written."
    )


def _bounded(read: Callable[[int], bytes], packed: int, path: Path, cohort: str) -> bytes:
    most = most_of(packed)
    parts: list[bytes] = []
    held = 0
    while part := read(min(_STEP, most + 1 - held)):
        parts.append(part)
        held += len(part)
        if held > most:
            raise too_large(path, packed, cohort=cohort)
    return b"".join(parts)
