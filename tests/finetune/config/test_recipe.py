from typing import Any

import pytest

from finetune.config.hmdb_simp import HMDB_SIMP
from finetune.config.recipe import Recipe
from finetune.config.recipes import DISTILLED, PAPER, PAPER_ROWS, RECIPES, differences, recipe_for, recipe_of
from hmdb.errors import DataError

BEST = ("table1-1", "table2-k400", "table3-uniform", "table4-timesformer", "table5-before")


def test_the_defaults_are_the_papers_best_row() -> None:
    assert (PAPER.batch_size, PAPER.optimizer, PAPER.learning_rate, PAPER.momentum) == (8, "sgd", 0.0035, 0.9)
    assert (PAPER.weight_decay, PAPER.epochs, PAPER.sampler, PAPER.schedule) == (0.003, 8, "uniform", "linear")
    for name in BEST:
        assert RECIPES[name] == PAPER
        assert (PAPER_ROWS[name].top1, PAPER_ROWS[name].top5) == (93.6, 99.2)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("table1-2", {"learning_rate": 0.0045}),
        ("table1-3", {"learning_rate": 0.0007}),
        ("table1-4", {"batch_size": 4}),
        ("table1-6", {"optimizer": "adam"}),
        ("table1-7", {"optimizer": "adam", "batch_size": 4, "learning_rate": 0.0001}),
        ("table2-k600", {"init": "facebook/timesformer-base-finetuned-k600"}),
        ("table2-ssv2", {"init": "facebook/timesformer-base-finetuned-ssv2"}),
        ("table3-equidistant", {"sampler": "equidistant"}),
        ("table3-random", {"sampler": "random"}),
        ("table5-after", {"extension": "after"}),
        (
            "table4-vivit",
            {
                "init": "google/vivit-b-16x2-kinetics400",
                "sampler": "centered",
                "pixels": "checkpoint",
                "learning_rate": 0.1,
                "weight_decay": 0.001,
                "accumulation": 4,
                "precision": "float16",
            },
        ),
        (
            "small",
            {
                "head": "linear-probe",
                "sampler": "equidistant",
                "pixels": "checkpoint",
                "optimizer": "adamw",
                "learning_rate": 1e-5,
                "weight_decay": 0.05,
                "schedule": "cosine",
                "warmup": 0.1,
                "label_smoothing": 0.1,
            },
        ),
    ],
)
def test_recipes_differ_from_the_papers_best_as_stated(name: str, changed: dict[str, object]) -> None:
    assert differences(RECIPES[name]) == changed


def test_every_row_of_the_tables_has_a_recipe() -> None:
    assert set(RECIPES) >= {"paper", "small", *PAPER_ROWS, *DISTILLED}


def test_recipes_by_name_with_changes() -> None:
    assert recipe_of("table1-2", {"epochs": 1}) == Recipe(learning_rate=0.0045, epochs=1)
    with pytest.raises(DataError, match=r"no recipe table9.*table1-1"):
        recipe_of("table9")
    with pytest.raises(DataError, match="no sampler dense; known are uniform, equidistant"):
        recipe_of("paper", {"sampler": "dense"})


def test_scratch_size_takes_the_family_of_the_recipe() -> None:
    assert recipe_of("table4-vivit", {"init": "scratch:tiny"}).init == "scratch:vivit-tiny"
    assert recipe_of("table1-1", {"init": "scratch:tiny"}).init == "scratch:timesformer-tiny"
    assert recipe_of("table1-1", {"init": "scratch:vivit-tiny"}).init == "scratch:vivit-tiny"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"frames": -1}, "train_num_frames must be at least 0"),
        ({"frames": 4}, "--train-num-frames needs --augment clips"),
        ({"frames": 4, "augment": "clips", "activation_checkpointing": True}, "do not go together"),
        (
            {"inflate": "facebook/dinov2-small"},
            r"inflate fills a new network \(scratch:NAME\), not facebook/timesformer",
        ),
        ({"mixup": 1e-300}, "mixup_alpha must be 0 or from 0.01 to 10, not 1e-300"),
        ({"ema": 1.0}, "ema_decay must be at least 0 and below 1"),
    ],
)
def test_contradicting_settings_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        Recipe(**settings)


def test_a_recipe_is_chosen_for_the_data() -> None:
    assert recipe_for(HMDB_SIMP, 900) == "paper"
    assert recipe_for(HMDB_SIMP, 175) == "small"
    assert recipe_for(("run", "walk"), 5000) == "small"
    assert recipe_for(("run", "walk"), 64, "scratch:tiny") == "paper"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"seed": -1}, "seed must be at least 0"),
        ({"patience": -1}, "early_stopping_patience must be at least 0"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0"),
        ({"weight_decay": float("nan")}, "weight_decay must be at least 0, not nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be above 0, not inf"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"accumulation": 0}, "gradient_accumulation_steps must be at least 1, not 0"),
        ({"learning_rate": 0}, "learning_rate must be above 0, not 0"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        Recipe(**settings)


def test_old_spellings_of_values_are_read() -> None:
    old = Recipe(head="probe", precision="bf16")
    assert old == Recipe(head="linear-probe", precision="bfloat16")
    assert hash(old) == hash(Recipe(head="linear-probe", precision="bfloat16"))
    assert Recipe(head="new", precision="fp32") == PAPER
