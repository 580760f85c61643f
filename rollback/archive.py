"""Reads `.npz` archives of others: plain columns, nothing compressed or pickled, nothing larger than its file."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

LONGEST_HEADER = 10_000


def read_archive(content: bytes, required: Collection[str], optional: Collection[str] = ()) -> dict[str, NDArray[Any]]:
    """The arrays of an archive by name. Raises `ValueError` saying which member is wrong.

    A member that is compressed, or that claims more numbers than it holds, is refused before any memory is taken for
    it: reading an archive never takes more than a few times the size of its file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            _check_names(members, required, optional, len(archive.infolist()))
            for name, info in members.items():
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(content):
                    raise ValueError(f"{name} is compressed; columns are stored as they are")
            return {name: _array(name, archive.read(info)) for name, info in members.items()}
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"no archive of columns: {error}") from error


def _check_names(found: Collection[str], required: Collection[str], optional: Collection[str], count: int) -> None:
    if missing := [name for name in required if name not in found]:
        raise ValueError(f"no archive of the columns {', '.join(required)}: {missing[0]} is missing")
    if strange := sorted(set(found) - {*required, *optional}):
        raise ValueError(f"a column {strange[0][:100]!r} has no place here")
    if count != len(found):
        raise ValueError("a column is there twice")


def _array(name: str, content: bytes) -> NDArray[Any]:
    file = io.BytesIO(content)
    try:
        version = npy.read_magic(file)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read_header(file, max_header_size=LONGEST_HEADER)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{name}: is no array: {error}") from error
    if dtype.hasobject:
        raise ValueError(f"{name}: holds objects, which would have to be unpickled")
    body = content[file.tell() :]
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(body) or (count and not body):
        raise ValueError(f"{name}: {len(body)} bytes do not fill the shape {list(shape)[:8]} of {dtype}")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C")
