"""Time from a file to its top five, compared with transformers' pipeline and a plain script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

from benchmarks import networks
from benchmarks.clips import write_clip, write_lossless
from benchmarks.decode import at_random
from benchmarks.race import Row, race
from hmdb.recognizer import Recognizer

TopFive = list[str]


def rows(folder: Path, rounds: int, models: Sequence[str]) -> Iterator[Row]:
    video = write_clip(folder / "answer.mp4")
    for name in models:
        checkpoint = networks.folder_of(name, folder)
        recognizer = Recognizer.from_pretrained(checkpoint, device="cpu")
        # The pipeline reads only the first frames of a video, so it gets one of just those that hmdb looks at.
        short = write_lossless(folder / f"{name}.mp4", recognizer.read(video).pixels)
        ways: dict[str, Callable[[], TopFive]] = {
            "hmdb": partial(ours, recognizer, video),
            "transformers' pipeline": by_pipeline(checkpoint, short),
        }
        if recognizer.loaded.clip_spec.num_frames == 8:
            ways["a plain script"] = by_script(checkpoint, video)
        first = ways["hmdb"]()
        answers = {way: run() for way, run in ways.items() if way != "hmdb"}
        notes = {way: "the same five" if found == first else "others in the five" for way, found in answers.items()}
        yield from race("answer", f"file to top five, {name}", ways, rounds, notes)


def ours(recognizer: Recognizer, video: Path) -> TopFive:
    return list(recognizer(video).labels)


def by_pipeline(checkpoint: Path, video: Path) -> Callable[[], TopFive]:
    ask: Any = pipeline("video-classification", model=str(checkpoint), device="cpu")
    return lambda: [each["label"] for each in ask(str(video))]


def by_script(checkpoint: Path, video: Path) -> Callable[[], TopFive]:
    """The example of a model card: decord, transformers' processor and network, softmax."""
    processor: Any = networks.processor(checkpoint)
    network: Any = networks.plain(checkpoint)

    def answer() -> TopFive:
        inputs = processor(list(at_random(video)), return_tensors="pt")
        with torch.no_grad():
            probabilities = network(**inputs).logits.softmax(-1)[0]
        return [network.config.id2label[index] for index in probabilities.topk(5).indices.tolist()]

    return answer
