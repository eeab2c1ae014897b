"""The model card of a taught checkpoint."""

from __future__ import annotations

from hmdb.teaching.fitting import Taught
from hmdb.text import label_words, one_line


def write_card(taught: Taught) -> str:
    """The README.md of a checkpoint, in Markdown."""
    head, validation = taught.head, taught.validation
    rows = []
    for index, label in enumerate(head.labels):
        count = sum(clip.label == label for clip in taught.clips)
        right = f"{validation.confusions[index][index]}" if validation.confusions else "–"
        rows.append(f"| {one_line(label_words(label)).replace('|', '/')} | {count} | {right} |")
    negatives = sum(clip.label not in head.labels for clip in taught.clips)
    plain = (
        "Plain transformers loads it and gives the same answers."
        if head.assembly == "whole"
        else "It also compares the first half of a clip with the second, which `hmdb` does from `head.safetensors`; "
        "plain transformers loads the network with a simpler classifier of the whole clip, and gives other answers."
    )
    return f"""---
library_name: transformers
pipeline_tag: video-classification
---

# {len(head.labels)} actions, taught from {len(taught.clips) - negatives} clips

A linear classifier on the frozen features of {one_line(head.backbone.name)}, with {negatives} negatives.

| action | clips | right when left out |
|---|---|---|
{chr(10).join(rows)}

{validation.sentence}

{validation.strangers_sentence}

These figures are of the clips that it was taught with. Other people, rooms and cameras can give worse ones. {plain}

```sh
python -m hmdb --model THIS_FOLDER clip.mp4
```
"""
