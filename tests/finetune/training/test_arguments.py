from pathlib import Path

import pytest
import torch
from transformers import get_scheduler

from finetune.config.recipe import Recipe
from finetune.training.arguments import training_arguments


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_learning_rate_rises_over_the_warmup_and_begins_at_its_peak_without(schedule: str, tmp_path: Path) -> None:
    def rates(warmup: float) -> list[float]:
        arguments = training_arguments(Recipe(schedule=schedule, warmup=warmup, learning_rate=1.0), tmp_path)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        steps = arguments.get_warmup_steps(10)
        found = []
        scheduler = get_scheduler(arguments.lr_scheduler_type, optimizer, steps, 10)
        for _ in range(10):
            found.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        return found

    assert rates(0.2)[:3] == [0.0, 0.5, 1.0]
    assert rates(0.0)[0] == 1.0
    assert (rates(0.2)[-1] == 1.0) == (schedule == "constant")
