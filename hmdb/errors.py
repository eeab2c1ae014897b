"""The exceptions of hmdb and finetune.

    HmdbError
    |-- VideoError                  a video file or a folder of frames cannot be read
    |   `-- FrameCountChangedError  a damaged file has another number of frames (video/video.py)
    |-- ModelError                  a checkpoint cannot be found, loaded or used
    |   `-- HubUnreachableError     the Hub did not answer in time (model/hub.py)
    |-- DataError                   a data set, a split or a setting is invalid
    |   `-- NoDetectorError         too few clips to detect other actions (finetune/evaluation/ood.py)
    |-- StoppedError                work was cancelled or took too long
    |   |-- BusyError               the page has no room for further work (page/service/scheduler.py)
    |   `-- TerminatedError         a signal ended a batch job (batch_inference/run.py)
    |-- StorageFullError            the page's disk budget is used up (page/server/file_store.py)
    |-- AddressQuotaError           one client address has too many unfinished uploads (page/server/file_store.py)
    |-- PreviewError                no preview of an unplayable video could be made (page/service/playback.py)
    `-- LendingError                ZeroGPU lent no GPU (page/service/zerogpu.py)

Each message is one line that names the thing and what would help, and is safe to show to a client. The technical cause
is chained (`__cause__`). Exceptions outside this tree do not leave their package: those of the decoding processes
become a VideoError, and that of the page's request guard becomes an HTTP response.
"""


class HmdbError(Exception):
    """Base class of the exceptions of this project."""


class VideoError(HmdbError):
    """A video file or a folder of frames cannot be read."""


class ModelError(HmdbError):
    """A checkpoint cannot be found, loaded or used."""


class DataError(HmdbError):
    """A data set, a split or a setting is invalid."""


class StoppedError(HmdbError):
    """Work was cancelled or took longer than its time limit."""
