"""Checkpoints: finding, validating, loading and optimizing them, and scoring clips with them."""

KINETICS_400 = "facebook/timesformer-base-finetuned-k400"
