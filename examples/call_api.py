"""Asks a running page, as `make app` serves it: prints the action in a video, and which action is seen when.

python -m examples.call_api [--url http://127.0.0.1:7860] [VIDEO]

It needs gradio_client alone (pip install gradio_client).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gradio_client import Client, handle_file

parser = argparse.ArgumentParser(description="Asks a running page for the action in a video.")
parser.add_argument("video", type=Path, nargs="?", default=Path(__file__).with_name("handstand.mp4"))
parser.add_argument("--url", default="http://127.0.0.1:7860", help="page, or OWNER/NAME of a Space (%(default)s)")
arguments = parser.parse_args()

client = Client(arguments.url, verbose=False, download_files=False)  # the answers here need no files
video = handle_file(arguments.video)

answer = client.predict(video, api_name="/predict")[-1]  # the last output is JSON
for entry in answer["top"]:
    print(f"{entry['label']:15} {entry['probability']:.1%}")

timeline = client.predict(video, api_name="/timeline")[-1]
for segment in timeline["segments"]:
    start, end = segment["start_seconds"], segment["end_seconds"]
    print(f"{start:6.1f} s to {end:5.1f} s  {segment['label'] or 'none of the actions'}")
