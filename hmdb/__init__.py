"""Human action recognition in videos, with attribution maps and timelines.

from hmdb import Recognizer

recognizer = Recognizer.from_pretrained()
print(recognizer("clip.avi").label)
"""

from typing import TYPE_CHECKING, Any

from hmdb.clips.clip import Clip, ClipFrame, ClipSpec
from hmdb.errors import DataError, HmdbError, ModelError, VideoError
from hmdb.results import Prediction
from hmdb.version import __version__

if TYPE_CHECKING:
    from hmdb.batch_inference.run import batch
    from hmdb.recognizer import Recognizer

__all__ = [
    "Clip",
    "ClipFrame",
    "ClipSpec",
    "DataError",
    "HmdbError",
    "ModelError",
    "Prediction",
    "Recognizer",
    "VideoError",
    "__version__",
    "batch",
]


def __getattr__(name: str) -> Any:
    # torch and transformers take seconds to import; the page and --help need neither.
    if name == "Recognizer":
        from hmdb.recognizer import Recognizer

        return Recognizer
    if name == "batch":
        from hmdb.batch_inference.run import batch

        return batch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
