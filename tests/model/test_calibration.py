import json
from pathlib import Path

import pytest

from hmdb import ModelError
from hmdb.model.calibration import Calibration
from hmdb.recognizer import Recognizer
from tests.support.checkpoints import write_checkpoint


@pytest.mark.parametrize(
    "values",
    [
        *({"temperature": value} for value in (0, "hot", None, True, 1e-320, float("nan"), float("inf"), 10**400)),
        *({"threshold": value} for value in (1.5, "high", False, float("nan"))),
        *({"answers": value} for value in ("many", 7, [1], [[1, 2]], [[0.5, 2, 3]], [[0.5, 2, 1], [0.4, 2, 1]])),
        *({"answers": [[edge, 2, 1]]} for edge in (0, 1.5, "x", None, True, float("nan"))),
        *({"answers": [[1.0, count, 1]]} for count in (-1, 0.5, "x", None)),
        {"warmth": 1},
        ["hot"],
        None,
    ],
)
def test_invalid_values_are_refused(values: object) -> None:
    with pytest.raises(ModelError, match="calibration"):
        Calibration.from_dict(values)


def test_bins_survive_json() -> None:
    values = {"temperature": 1.5, "threshold": None, "answers": [[0.5, 4, 1], [1.0, 9, 8]]}
    calibration = Calibration.from_dict(values)
    assert calibration.to_dict() == values
    last = calibration.bins[-1]
    assert (last.low, last.high, last.count, last.right) == (0.5, 1.0, 9, 8)
    assert "answers" not in Calibration().to_dict()


def test_calibration_is_loaded_with_the_checkpoint(tmp_path: Path, video: Path) -> None:
    plain = Recognizer.from_pretrained(write_checkpoint(tmp_path), device="cpu")
    prediction = plain(video)
    assert prediction.threshold is None
    assert prediction.is_known
    config = json.loads((tmp_path / "config.json").read_text())
    config["calibration"] = {"temperature": 10.0, "threshold": 0.99}
    (tmp_path / "config.json").write_text(json.dumps(config))
    careful = Recognizer.from_pretrained(tmp_path, device="cpu")(video)
    assert careful.labels[0] == prediction.labels[0]
    assert careful.probability < prediction.probability
    assert not careful.is_known
    assert careful.to_dict()["is_known"] is False
    assert careful.to_dict()["threshold"] == 0.99
