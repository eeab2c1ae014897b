"""Training steps: clips a second, and the share of the machine's matrix rate that they use.

The steps are those of `finetune`, its Trainer, loader and optimizer, on random clips that are in memory. On a GPU
batches are the paper's; elsewhere smaller, to show that it runs. The ways follow one another, as a run cannot be
interrupted for another.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback

from benchmarks import networks
from benchmarks.race import Row, milliseconds, row
from finetune.config.hmdb_simp import HMDB_SIMP
from finetune.config.recipe import Recipe
from finetune.config.recipes import PAPER
from finetune.models.initial import load_initial
from finetune.training.arguments import optimizer, training_arguments, usable_precision
from finetune.training.trainer import ClipTrainer
from hmdb.model.families import use_recorded_attention

ON_GPU = torch.cuda.is_available()
BATCH = PAPER.batch_size if ON_GPU else 2
STEPS = 10 if ON_GPU else 1  # between two looks at the clock, each of which waits for the device
WARM = 2  # of these are left out
SIDE = 8192 if ON_GPU else 2048  # of the matrices whose product is the measure
PAPER_CLIPS = 8 * 900  # that one of the paper's runs trains on
NEW = {"bundled": "timesformer-compact"}  # name of a checkpoint -> of a new network like it

WAYS = {
    "finetune, bf16": Recipe(precision="bfloat16"),
    "finetune, bf16, compiled": Recipe(precision="bfloat16", compile=True),
    "finetune, fp32": Recipe(precision="float32"),
}
EAGER = "finetune, bf16, transformers' attention"


def rows(folder: Path, rounds: int, models: Sequence[str]) -> Iterator[Row]:
    rate = matrix_rate(rounds)
    for name in models:
        work = f"a step of {BATCH} clips, {name}"
        operations = 3 * BATCH * networks.operations(new(name).network)  # backwards takes twice as much as forwards
        for way, recipe in {**WAYS, EAGER: Recipe(precision="bfloat16")}.items():
            if usable_precision(recipe.precision) != recipe.precision:
                continue
            taken = steps(name, replace(recipe, batch_size=BATCH), rounds, fused=way != EAGER, folder=folder)
            speed = BATCH / min(taken) * 1e3
            share = operations / min(taken) / rate
            note = f"{speed:.3g} clips/s, {share:.0%} of the bf16 rate; a paper run in {PAPER_CLIPS / speed:.3g} s"
            yield row("training", work, way, taken, note=note)


def matrix_rate(rounds: int) -> float:
    """The most operations in a millisecond that a large bfloat16 product reaches."""
    device = "cuda" if ON_GPU else "cpu"
    left, right = (torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))

    def multiply() -> None:
        for _ in range(STEPS):
            torch.mm(left, right)
        _wait()

    multiply()
    return max(2.0 * SIDE**3 * STEPS / milliseconds(multiply) for _ in range(rounds))


def new(name: str) -> Any:
    torch.manual_seed(0)
    init = f"scratch:{NEW.get(name, name)}"
    return load_initial(init, HMDB_SIMP, sampler="equidistant", extension=None, paper_pixels=True)


def steps(name: str, recipe: Recipe, rounds: int, *, fused: bool, folder: Path) -> list[float]:
    """Milliseconds of a step, `rounds` times."""
    origin = new(name)
    if fused:
        use_recorded_attention(origin.network)
    clock = _Clock()
    count = (WARM + rounds) * STEPS
    arguments = training_arguments(recipe, folder)
    # nothing but steps
    changes = {"max_steps": count, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    for setting, value in changes.items():
        setattr(arguments, setting, value)
    trainer = ClipTrainer(
        pixel_spec=origin.pixel_spec,
        recipe=recipe,
        model=origin.network,
        args=arguments,
        train_dataset=_Clips(count * BATCH, origin.clip_spec.num_frames, origin.pixel_spec.shape),
        optimizer_cls_and_kwargs=optimizer(recipe),
        callbacks=[clock],
    )
    trainer.train()
    del trainer, origin
    gc.collect()
    return clock.taken[WARM:]


class _Clips(Dataset[dict[str, Any]]):
    """So many of a few random clips."""

    def __init__(self, count: int, frames: int, shape: tuple[int, int]) -> None:
        generator = torch.Generator().manual_seed(0)
        self._count = count
        self._clips = torch.randint(0, 256, (BATCH, frames, *shape, 3), dtype=torch.uint8, generator=generator)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixel_values": self._clips[index % BATCH].clone(), "labels": index % len(HMDB_SIMP)}


class _Clock(TrainerCallback):
    def __init__(self) -> None:
        self.taken: list[float] = []
        self._began = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.global_step % STEPS:
            return
        _wait()
        now = time.perf_counter()
        self.taken.append((now - self._began) * 1e3 / STEPS)
        self._began = now


def _wait() -> None:
    if ON_GPU:
        torch.cuda.synchronize()
