"""Exports answers for annotation tools: Label Studio predictions and FiftyOne temporal detections."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5
from xml.sax.saxutils import quoteattr

import pyarrow as pa
from fsspec.core import url_to_fs
from pyarrow import parquet

from hmdb.batch_inference.parquet_store import ANSWERS, SEGMENTS
from hmdb.batch_inference.urls import is_url
from hmdb.errors import DataError
from hmdb.text import first_line, one_line

Row = dict[str, Any]

# the labelling interface of a Label Studio project
LABEL_STUDIO_CONFIG = """<View>
  <TimelineLabels name="actions" toName="video">
{labels}
  </TimelineLabels>
  <Video name="video" value="$video"/>
  <Choices name="action" toName="video">
{choices}
  </Choices>
</View>
"""


def export_annotations(output: str, tool: str, target: Path, on_message: Callable[[str], None] = lambda _: None) -> int:
    """Writes the answers of a job into a folder for an annotation tool; failed videos are left out.

    Args:
        output: the folder or URL that `batch` wrote.
        tool: one of EXPORT_FORMATS.
        target: a folder, which is created; files in it are overwritten.
        on_message: called with what a user should know, a line each.

    Returns:
        Number of exported videos.

    Raises:
        DataError: there are no answers that the tool can show, or the folder cannot be written.
    """
    answers = list(_read_answers(output))
    if not answers:
        raise DataError(f"{one_line(output)} holds no answers.")
    export = EXPORT_FORMATS[tool]
    rows = [row for row in answers if export.opens_urls or not is_url(row["path"])]
    if not rows:
        raise DataError(f"{export.name} opens only local files, and all videos of {one_line(output)} are behind URLs.")
    if num_urls := len(answers) - len(rows):
        on_message(f"{num_urls} of {len(answers)} videos are left out: {export.name} opens only local files, not URLs.")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, text in export.files(rows).items():
            (target / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{one_line(str(target))} cannot be written: {error.strerror}.") from error
    return len(rows)


def _read_answers(output: str) -> Iterator[Row]:
    """The rows that did not fail, each with its segments; without a timeline, one segment of the whole length."""
    segments: dict[str, list[Row]] = {}
    for row in _read_table(output, SEGMENTS, missing_ok=True):
        segments.setdefault(row.pop("path"), []).append(row)
    for row in _read_table(output, ANSWERS):
        if row["error_class"] is None:
            whole = {"start_frame": 0, "end_frame": row["num_frames"], "probability": row["probability"]}
            label = row["label"] if row["is_known"] else None
            yield row | {"segments": segments.get(row["path"], [whole | {"label": label}])}


def _read_table(output: str, name: str, *, missing_ok: bool = False) -> list[Row]:
    try:
        files, root = url_to_fs(f"{output.rstrip('/')}/{name}")
        if missing_ok and not files.exists(root):
            return []
        parts = [parquet.read_table(files.open(part, "rb")) for part in sorted(files.glob(f"{root}/*.parquet"))]
        rows: list[Row] = pa.concat_tables(parts).to_pylist() if parts else []
        return rows
    except Exception as error:  # every file system raises its own
        raise DataError(f"{one_line(output)} cannot be read: {one_line(first_line(error))}") from error


def label_studio_files(rows: list[Row]) -> dict[str, str]:
    """tasks.json, the import file, and config.xml, its labelling interface."""
    labels = sorted({label for row in rows for label in (row["label"], *_labels(row))})
    config = LABEL_STUDIO_CONFIG.format(
        labels="\n".join(f"    <Label value={quoteattr(label)}/>" for label in labels),
        choices="\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels),
    )
    return {"tasks.json": json.dumps([_task(row) for row in rows], indent=1) + "\n", "config.xml": config}


def _task(row: Row) -> Row:
    revision = f"@{row['revision']}" if row["revision"] else ""
    choice = {
        "id": "action",
        "from_name": "action",
        "to_name": "video",
        "type": "choices",
        "score": row["probability"],
        "value": {"choices": [row["label"]]},
    }
    ranges = [
        {
            "id": f"segment{number}",
            "from_name": "actions",
            "to_name": "video",
            "type": "timelinelabels",
            "score": segment["probability"],
            "value": {
                # frames from 1, the last included
                "ranges": [{"start": segment["start_frame"] + 1, "end": segment["end_frame"]}],
                "timelinelabels": [segment["label"]],
            },
        }
        for number, segment in enumerate(row["segments"])
        if segment["label"] is not None
    ]
    prediction = {
        "model_version": f"{row['model']}{revision}",
        "score": row["probability"],
        "result": [choice, *ranges],
    }
    return {"data": {"video": row["path"]}, "predictions": [prediction]}


def fiftyone_files(rows: list[Row]) -> dict[str, str]:
    """data.json and labels.json of a FiftyOneTemporalDetectionDataset."""
    names = {row["path"]: str(uuid5(NAMESPACE_URL, row["path"])) for row in rows}
    detections = {
        names[row["path"]]: [
            {
                "label": segment["label"],
                "confidence": segment["probability"],
                "support": [segment["start_frame"] + 1, segment["end_frame"]],  # frames from 1, the last included
            }
            for segment in row["segments"]
            if segment["label"] is not None
        ]
        for row in rows
    }
    classes = sorted({label for row in rows for label in _labels(row)})
    return {
        "data.json": json.dumps({name: path for path, name in names.items()}, indent=1) + "\n",
        "labels.json": json.dumps({"classes": classes, "labels": detections}, indent=1) + "\n",
    }


def _labels(row: Row) -> list[str]:
    return [segment["label"] for segment in row["segments"] if segment["label"] is not None]


class ExportFormat(NamedTuple):
    """The import format of a tool: its name, a function from rows to file contents, and whether it opens URLs."""

    name: str
    files: Callable[[list[Row]], dict[str, str]]
    opens_urls: bool


EXPORT_FORMATS = {
    "fiftyone": ExportFormat(
        "FiftyOne", fiftyone_files, opens_urls=False
    ),  # a URL would be a path relative to data.json
    "label-studio": ExportFormat("Label Studio", label_studio_files, opens_urls=True),
}
