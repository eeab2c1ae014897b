import json
from typing import Any

import numpy as np
import pytest

from hmdb.clips.clip import Clip, ClipFrame, ClipSpec
from hmdb.errors import ModelError
from hmdb.results import Prediction


def test_a_spec_survives_json() -> None:
    spec = ClipSpec(num_frames=32, stride=2, sampler="centered", extension="after")
    assert ClipSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_frames": 0}, "num_frames .* not 0"),
        ({"num_frames": 10**9}, "num_frames"),
        ({"stride": "32"}, "stride .* not '32'"),
        ({"sampler": "fast"}, "uniform, equidistant, random, centered, not 'fast'"),
        ({"extension": "never"}, "before, after"),
        ({"speed": 1}, "does not know: speed"),
        ({"stride": True}, "stride .* not True"),
        ([], r"must be an object with settings, not \[\]"),
        (None, "must be an object with settings, not None"),
    ],
)
def test_a_spec_refuses_what_it_cannot_mean(change: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ClipSpec.from_dict(change)


def test_a_clip_checks_its_shape() -> None:
    frame = ClipFrame(sources=(0,), seconds=0.0, kind="real")
    with pytest.raises(ValueError, match=r"uint8 \(1, H, W, 3\), got uint8 \(2, 4, 4, 3\)"):
        Clip(pixels=np.zeros((2, 4, 4, 3), np.uint8), frames=(frame,), spec=ClipSpec())
    with pytest.raises(ValueError, match="got float32"):
        Clip(pixels=np.zeros((1, 4, 4, 3), np.float32), frames=(frame,), spec=ClipSpec())


def test_a_prediction_is_json() -> None:
    frame = ClipFrame(sources=(3, 4), seconds=0.5, kind="interpolated")
    clip = Clip(pixels=np.zeros((1, 4, 4, 3), np.uint8), frames=(frame,), spec=ClipSpec(num_frames=1))
    prediction = Prediction(labels=("golf", "wave"), probabilities=(0.7, 0.2), clip=clip, model="me/it", revision="abc")
    answer = json.loads(json.dumps(prediction.to_dict()))
    assert answer["label"] == "golf"
    assert answer["top"][1] == {"label": "wave", "probability": 0.2}
    assert answer["frames"] == [{"sources": [3, 4], "seconds": 0.5, "kind": "interpolated"}]
    assert answer["clip_spec"]["num_frames"] == 1
