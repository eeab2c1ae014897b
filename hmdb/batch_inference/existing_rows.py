"""The rows of earlier runs: finished videos are skipped, failed or changed ones can be done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hmdb.batch_inference.download import file_version
from hmdb.batch_inference.parquet_store import ParquetStore
from hmdb.batch_inference.urls import is_url

STAT_THREADS = 16  # a network file system takes its time for each file


@dataclass(frozen=True, kw_only=True)
class ExistingRows:
    """The rows that a folder holds when a run begins.

    Attributes:
        done: keys of the sources' videos that have a row.
        failed: how many of these failed.
        others: number of rows of videos that the sources do not name.
    """

    done: set[str]
    failed: int
    others: int


def read_existing_rows(
    store: ParquetStore,
    videos: Mapping[str, str],
    on_message: Callable[[str], None],
    *,
    retry_failed: bool,
    retry_changed: bool,
) -> ExistingRows:
    """Reads which videos are done, and deletes the rows of those that are to be done again.

    Args:
        videos: location of each video by its key.
        on_message: called with what a user should know, a line each.

    Raises:
        DataError: the folder cannot be read or written.
    """
    failed, versions, others = set(), {}, 0
    for path, version, error in store.rows("path", "stamp", "error_class"):
        if path not in videos:
            others += 1
            continue
        versions[path] = version
        if error is not None:
            failed.add(path)
    changed = _find_changed(versions)
    if versions or others:
        note = f" {others} further rows are of videos that the sources do not name." if others else ""
        on_message(f"{len(versions)} of {len(videos)} videos were done before.{note}")
    if changed and not retry_changed:
        on_message(f"{len(changed)} of these have changed since; --retry-changed does them again.")
    again = (failed if retry_failed else set()) | (changed if retry_changed else set())
    if again:
        store.delete_rows(again)
        on_message(f"{len(again)} that failed or changed are done again.")
    return ExistingRows(done=versions.keys() - again, failed=len(failed - again), others=others)


def _find_changed(versions: Mapping[str, str | None]) -> set[str]:
    """Videos on this machine whose file or folder has another version now; URLs are not checked."""
    local = {path: version for path, version in versions.items() if not is_url(path)}
    with ThreadPoolExecutor(STAT_THREADS) as threads:
        current = threads.map(file_version, map(Path, local))
        return {path for (path, version), new in zip(local.items(), current, strict=True) if new not in (version, None)}
