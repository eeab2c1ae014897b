from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from pyarrow import parquet

from hmdb.batch_inference.actors import SEGMENT
from hmdb.cli import main


@pytest.fixture(params=[True, False], ids=["with timeline", "without"])
def answers(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    known = {"label": "ride_bike", "probability": 0.75, "is_known": True, "num_frames": 90, "error_class": None}
    model = {"model": "owner/name", "revision": "abc"}
    rows = [
        {"path": "/a.mp4", **known, **model},
        {"path": "s3://there/b.mp4", **known, **model, "is_known": False, "probability": 0.1},
        {"path": "/broken.mp4", **dict.fromkeys(known), **model, "error_class": "VideoError"},
    ]
    (tmp_path / "answers").mkdir()
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "answers/part-000000.parquet")
    if request.param:
        segments = [
            {"path": "/a.mp4", "label": None, "probability": 0.2, "start_frame": 0, "end_frame": 30},
            {"path": "/a.mp4", "label": "wave", "probability": 0.5, "start_frame": 30, "end_frame": 90},
        ]
        schema = pa.schema([("path", pa.string()), *SEGMENT])
        (tmp_path / "segments").mkdir()
        parquet.write_table(pa.Table.from_pylist(segments, schema), tmp_path / "segments/part-000000.parquet")
    return tmp_path


def test_label_studio(answers: Path, tmp_path: Path) -> None:
    assert main(["annotate", str(answers), "--to", "label-studio", "--output", str(tmp_path / "ls")]) == 0
    first, second = json.loads((tmp_path / "ls/tasks.json").read_text())
    assert (first["data"], second["data"]) == ({"video": "/a.mp4"}, {"video": "s3://there/b.mp4"})
    (prediction,) = first["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("owner/name@abc", 0.75)
    choice, segment = prediction["result"]
    assert choice["value"] == {"choices": ["ride_bike"]}
    timed = (answers / "segments").exists()
    label, start = ("wave", 31) if timed else ("ride_bike", 1)
    assert segment["value"] == {"ranges": [{"start": start, "end": 90}], "timelinelabels": [label]}
    config = ElementTree.parse(tmp_path / "ls/config.xml")  # noqa: S314 - our own
    assert {each.get("value") for each in config.iter("Choice")} == {"ride_bike", label}
    controls = {each.get("name"): each.get("toName") for each in config.iter() if each.get("toName")}
    assert controls == {"actions": "video", "action": "video"}


def test_fiftyone(answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", str(answers), "--to", "fiftyone", "--output", str(tmp_path / "fo")]) == 0
    assert capsys.readouterr().err == "1 of 2 videos are left out: FiftyOne opens only local files, not URLs.\n"
    data = json.loads((tmp_path / "fo/data.json").read_text())
    labels = json.loads((tmp_path / "fo/labels.json").read_text())
    timed = (answers / "segments").exists()
    label, start, confidence = ("wave", 31, 0.5) if timed else ("ride_bike", 1, 0.75)
    ((name, path),) = data.items()
    assert path == "/a.mp4"
    assert labels["labels"] == {name: [{"label": label, "confidence": confidence, "support": [start, 90]}]}
    assert labels["classes"] == [label]


def test_label_studio_accepts_the_files(answers: Path, tmp_path: Path) -> None:
    interfaces = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    assert main(["annotate", str(answers), "--to", "label-studio", "--output", str(tmp_path)]) == 0
    interface = interfaces.LabelInterface((tmp_path / "config.xml").read_text())
    for task in json.loads((tmp_path / "tasks.json").read_text()):
        assert [interface.validate_prediction(each, return_errors=True) for each in task["predictions"]] == [[]]


def test_fiftyone_reads_the_files(answers: Path, tmp_path: Path) -> None:
    importers = pytest.importorskip("fiftyone.utils.data.importers", reason="fiftyone is not installed")
    assert main(["annotate", str(answers), "--to", "fiftyone", "--output", str(tmp_path)]) == 0
    files = {"data_path": str(tmp_path / "data.json"), "labels_path": str(tmp_path / "labels.json")}
    with importers.FiftyOneTemporalDetectionDatasetImporter(**files, compute_metadata=False) as importer:
        found = {path: [(each.label, each.support) for each in label.detections] for path, _, label, _ in importer}
    assert found == {"/a.mp4": [("wave", [31, 90]) if (answers / "segments").exists() else ("ride_bike", [1, 90])]}


def test_no_answers_to_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", str(tmp_path), "--to", "fiftyone", "--output", str(tmp_path / "fo")]) == 1
    assert capsys.readouterr().err == f"{tmp_path} holds no answers.\n"
