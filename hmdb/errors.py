"""Everything that hmdb and finetune raise on purpose.

    HmdbError
    |-- VideoError    a video (file or folder of frames) that cannot be read
    |-- ModelError    a checkpoint that cannot be found, loaded or used
    |-- DataError     a data set, a split or a setting that does not fit
    `-- StoppedError  work that was told to stop, or took too long

The text of each is one line that names the thing and says what would help, fit to be shown to
whoever asked. The technical cause, where there is one, is chained (`__cause__`).
"""


class HmdbError(Exception):
    """Base of every error that this project raises on purpose."""


class VideoError(HmdbError):
    """A video file or a folder of frames cannot be read."""


class ModelError(HmdbError):
    """A checkpoint cannot be found, loaded or used."""


class DataError(HmdbError):
    """A data set, a split or a training setting does not fit."""


class StoppedError(HmdbError):
    """Work was told to stop, or took longer than it may."""
