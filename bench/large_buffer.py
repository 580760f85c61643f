"""How much memory and time a retraining takes to read a buffer of many rows, of which it draws a part.

    python bench/large_buffer.py [--rows 10000000] [--most-rows 2000000] [--features 12] [--format parquet|store]

Each phase is a process of its own, writing too: a process inherits the peak of the one that starts it. Prints a line
of JSON: seconds, and the peak of resident memory in MiB, of an import alone and of the draw.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from machine import describe

from rollback.retraining.data import row_ids
from rollback.retraining.reading import read_at_most
from rollback.store.fill import Roles, rows_of_table
from rollback.store.row import Row
from rollback.store.store import Store
from rollback.tables.cells import Column
from rollback.tables.table import Table

PART = 50_000


def parts(rows: int, features: int) -> Iterator[Table]:
    rng = np.random.default_rng(0)
    for start in range(0, rows, PART):
        n = min(PART, rows - start)
        columns: dict[str, Column] = {f"f{i}": np.round(rng.normal(size=n), 4) for i in range(features)}
        columns["label"] = np.where(rng.random(n) < 0.2, "attack", "benign")
        columns["source"] = np.char.add("s", rng.integers(0, 20, n).astype(np.str_))
        columns["id"] = np.arange(start, start + n).astype(np.str_)
        columns["ts"] = np.arange(start, start + n).astype(np.float64)
        yield Table("generated", columns, np.arange(n))


def write(path: Path, rows: int, features: int) -> None:
    if path.suffix != ".parquet":
        roles = Roles("label", "id", "ts", "source")
        made: Iterator[Row] = (row for part in parts(rows, features) for row in rows_of_table(part, roles, "bench"))
        Store(path).append(made, lambda: 0.0)
        return
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # noqa: PLC0415 - likewise

    writer = None
    for part in parts(rows, features):
        table = pa.table({name: pa.array(column.tolist()) for name, column in part.columns.items()})
        writer = writer or pq.ParquetWriter(str(path), table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def read(path: Path, most: int) -> None:
    """Runs in a process of its own."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    started = time.monotonic()
    drawn = read_at_most(path, ["id", "source"], ["source", "label"], lambda t: row_ids(t, ["label", "source"]), most)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        json.dumps(
            {
                "rows": drawn.total,
                "drawn": len(drawn.table),
                "seconds": round(time.monotonic() - started, 1),
                "peak_mib": after,
                "before_mib": peak,
            }
        )
    )


def main() -> None:
    """Write, then read in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--most-rows", type=int, default=2_000_000)
    parser.add_argument("--features", type=int, default=12)
    parser.add_argument("--format", choices=("parquet", "store"), default="parquet")
    parser.add_argument("--read", type=Path)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    if options.read is not None:
        read(options.read, options.most_rows)
        return
    if options.write is not None:
        write(options.write, options.rows, options.features)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("rows.parquet" if options.format == "parquet" else "rows")
        sizes = ["--rows", str(options.rows), "--features", str(options.features)]
        subprocess.run([sys.executable, __file__, "--write", str(path), *sizes], check=True)
        command = [sys.executable, __file__, "--read", str(path), "--most-rows", str(options.most_rows)]
        subprocess.run(command, check=True)
    print(describe())


if __name__ == "__main__":
    main()
