"""Classifies a video with the library: prints the five likeliest actions and saves a picture of the attribution map.

python -m examples.classify [VIDEO] [PICTURE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from hmdb import Recognizer
from hmdb.figures import overlay, sheet

parser = argparse.ArgumentParser(description="Classifies a video and saves a picture of its attribution map.")
parser.add_argument("video", type=Path, nargs="?", default=Path(__file__).with_name("handstand.mp4"))
parser.add_argument("picture", type=Path, nargs="?", default=Path("map.png"))
arguments = parser.parse_args()

recognizer = Recognizer.from_pretrained()  # the bundled checkpoint; or a Hub id, or a folder
explanation = recognizer.explain(arguments.video)  # a prediction and the map of its label
prediction = explanation.prediction
for label, probability in zip(prediction.labels, prediction.probabilities, strict=True):
    print(f"{label:15} {probability:.1%}")
if prediction.rejection_reason:
    print(f"It may show none of these: {prediction.rejection_reason}")

frames = overlay(prediction.clip.pixels, explanation.heat, region=explanation.region)
Image.fromarray(sheet(frames)).save(arguments.picture)
print(f"The frames with their map are in {arguments.picture}.")
