"""The pool of decoding processes of this process: started on demand, reused and replaced."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, TypeVar

from hmdb.cancellation import check_cancelled
from hmdb.video.limits import Limits
from hmdb.video.protocol import Confinement
from hmdb.video.worker_process import WorkerProcess, WorkerReply

T = TypeVar("T")


class Pool:
    """Workers of one kind. Threads may share a pool."""

    def __init__(self, kind: type[WorkerProcess] = WorkerProcess) -> None:
        self._kind = kind
        self._changed = threading.Condition()
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._num_busy = 0
        self._confinement: Confinement | None = None

    def ask(
        self, request: Mapping[str, Any], file: BinaryIO, limits: Limits, *, seconds: float, fresh: bool = False
    ) -> WorkerReply:
        """Sends a request about an open file to a worker, once one is free.

        Args:
            seconds: as in `WorkerProcess.ask`.
            fresh: use a worker that has read nothing yet.

        Raises:
            WorkerError: there is no answer.
            StoppedError: the calling work was cancelled.
        """
        check_cancelled()
        return self._with_worker(limits, lambda worker: worker.ask(request, file, seconds), fresh=fresh)

    def confinement(self, limits: Limits) -> Confinement:
        """Returns the confinement of this pool's workers. Only the first call may have to start one.

        Raises:
            WorkerError: none can be started.
        """
        if self._confinement is None:
            self._with_worker(limits, lambda worker: worker.wait_ready())
        assert self._confinement is not None  # noqa: S101 - set by a worker that started
        return self._confinement

    def _with_worker(self, limits: Limits, work: Callable[[WorkerProcess], T], *, fresh: bool = False) -> T:
        worker = self._acquire(limits, fresh=fresh)
        try:
            result = work(worker)
        except BaseException:
            self._give_back(worker, usable=False)
            raise
        self._confinement = worker.confinement
        self._give_back(worker, usable=worker.num_requests < limits.requests)
        return result

    def prepare(self, limits: Limits) -> None:
        """Starts a worker if there is none, without waiting until it is ready."""
        if not self.workers():
            self._give_back(self._acquire(limits), usable=True)

    def _acquire(self, limits: Limits, *, fresh: bool = False) -> WorkerProcess:
        with self._changed:
            while self._num_busy >= limits.workers:
                self._changed.wait()
            self._num_busy += 1
            worker = self._idle.pop() if self._idle else None
        try:
            if worker is not None and (
                worker.limits != limits or not worker.alive or (fresh and worker.num_requests > 0)
            ):
                worker.kill()
                worker = None
            worker = worker or self._kind(limits)
        except BaseException:
            self._release()
            raise
        with self._changed:
            self._busy.add(worker)
        return worker

    def _give_back(self, worker: WorkerProcess, *, usable: bool) -> None:
        with self._changed:
            self._busy.discard(worker)
            if usable:
                self._idle.append(worker)
        if not usable:
            worker.kill()
        self._release()

    def _release(self) -> None:
        with self._changed:
            self._num_busy -= 1
            self._changed.notify()

    def workers(self) -> Sequence[WorkerProcess]:
        with self._changed:
            return [*self._idle, *self._busy]

    def close(self) -> None:
        """Kills all workers."""
        for worker in self.workers():
            worker.kill()
        with self._changed:
            self._idle.clear()


_pool = Pool()
_inherited: list[Sequence[WorkerProcess]] = []


def default_pool() -> Pool:
    return _pool


def _after_fork() -> None:
    """Gives a forked child, such as a data loader's, a pool of its own, and closes its copies of the parent's pipes:
    a worker exits when the last pipe to it is closed.
    """
    global _pool
    inherited = [*_pool._idle, *_pool._busy]
    for worker in inherited:
        worker.close_pipes()
    _inherited.append(inherited)  # or Popen would wait for processes that are not children of this one
    _pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _close() -> None:
    default_pool().close()
