"""Names of models that others need before they load any."""

KINETICS_400 = "facebook/timesformer-base-finetuned-k400"
