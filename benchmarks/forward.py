"""Time of preprocessing, forward pass and maps, compared with transformers, other engines and the lower bound."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from benchmarks import networks, peers
from benchmarks.race import Row, milliseconds, race, row
from hmdb.explain.attribution import class_relevance, rollout
from hmdb.model.loading import load
from hmdb.model.optimize import precision_of
from hmdb.model.preprocess import preprocess
from hmdb.recognizer import Recognizer


def preprocess_rows(folder: Path, rounds: int, models: Sequence[str]) -> Iterator[Row]:
    for name in models:
        checkpoint = networks.folder_of(name, folder)
        loaded = load(checkpoint, device="cpu")
        frames = loaded.clip_spec.num_frames
        pixels = np.random.default_rng(0).integers(0, 256, (frames, 240, 320, 3), dtype=np.uint8)
        processor = networks.processor(checkpoint)
        ways = {
            "hmdb": partial(preprocess, pixels, loaded.pixel_spec),
            "transformers' processor": partial(processor, list(pixels), return_tensors="pt"),
        }
        yield from race("preprocess", f"{frames} frames of 320x240, {name}", ways, rounds * 4)


def forward_rows(folder: Path, rounds: int, models: Sequence[str]) -> Iterator[Row]:
    for name in models:
        yield from _forward(name, networks.folder_of(name, folder), rounds)


def _forward(name: str, checkpoint: Path, rounds: int) -> Iterator[Row]:
    network = networks.plain(checkpoint)
    clip = networks.pixels(network)
    ways: dict[str, Callable[[], np.ndarray]] = {}
    chosen = quick(checkpoint)
    ways[f"hmdb, auto: {precision_of(chosen)}"] = partial(_logits, chosen, clip)
    for dtype in ("float32", "bfloat16", "int8"):
        ways[f"hmdb, {dtype}"] = partial(_logits, quick(checkpoint, dtype), clip)
    ways["transformers"] = partial(_logits, network, clip)
    ways["transformers, bfloat16"] = partial(_logits, networks.plain(checkpoint, torch.bfloat16), clip.bfloat16())
    ways |= peers.build_forwards(networks.plain(checkpoint), clip)
    exact = ways["transformers"]()
    notes = {way: f"logits within {abs(run() - exact).max():.1g}" for way, run in ways.items()}
    floors = {str(dtype)[6:]: networks.product(network, dtype) for dtype in (torch.float32, torch.bfloat16)}
    found: dict[str, list[float]] = {way: [] for way in ways}
    rates: dict[str, list[float]] = {dtype: [] for dtype in floors}
    for _ in range(rounds):  # as `race` does, with the floor measured in between
        for way, run in ways.items():
            found[way].append(milliseconds(run))
        for dtype, (multiply, operations) in floors.items():
            rates[dtype] += [operations / milliseconds(multiply) for _ in range(5)]
    for way, taken in found.items():
        yield row("forward", name, way, taken, note=notes[way])
    operations = networks.operations(network)
    for dtype, rate in rates.items():
        yield Row(
            part="forward",
            work=name,
            way=f"the floor, {dtype}",
            least=operations / max(rate),
            median=operations / statistics.median(rate),
            note=f"{operations / 1e9:.3g} GFLOP over the rate of a torch product of its shape",
        )


def maps_rows(folder: Path, rounds: int, models: Sequence[str]) -> Iterator[Row]:
    for name in models:
        network = quick(networks.folder_of(name, folder))
        clip = networks.pixels(network)
        ways: dict[str, Callable[[], object]] = {
            "the answer alone": partial(_logits, network, clip),
            "with rollout": partial(rollout, network, clip),
            "with one label's relevance": partial(class_relevance, network, clip),
        }
        yield from race("maps", name, ways, rounds)


def quick(checkpoint: Path, dtype: str = "auto") -> PreTrainedModel:
    return Recognizer.from_pretrained(checkpoint, device="cpu", dtype=dtype).loaded.network


def _logits(network: PreTrainedModel, clip: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        logits: np.ndarray = network(pixel_values=clip).logits.float().numpy()
    return logits
