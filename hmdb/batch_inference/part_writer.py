"""Collects rows until they fill a part of the Parquet store."""

from __future__ import annotations

import time

import pyarrow as pa

from hmdb.batch_inference.parquet_store import ParquetStore

PART_SECONDS = 300.0  # after which a short part is written too: the most work that a kill can cost


class PartWriter:
    """Writes parts of equal size, and a short one when `PART_SECONDS` have passed since the last."""

    def __init__(self, store: ParquetStore, part_rows: int) -> None:
        self._store = store
        self._part_rows = part_rows
        self._pending: list[pa.Table] = []
        self._last_write = time.monotonic()

    def add(self, rows: pa.Table) -> None:
        """
        Raises:
            DataError: a part cannot be written.
        """
        self._pending.append(rows)
        pending = pa.concat_tables(self._pending)
        while pending.num_rows >= self._part_rows:
            self._pending = [pending[self._part_rows :]]
            self._write(pending[: self._part_rows])
            pending = self._pending[0]
        if time.monotonic() - self._last_write > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the rows collected so far, however few.

        Raises:
            DataError: they cannot be written.
        """
        pending, self._pending = self._pending, []
        if pending and (rows := pa.concat_tables(pending)).num_rows:
            self._write(rows)

    def _write(self, rows: pa.Table) -> None:
        self._store.write(rows)
        self._last_write = time.monotonic()
