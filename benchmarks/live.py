"""Live: what cameras get that speak to the running page as a browser does.

Each posts a 320x240 picture every 0.2 s and reads what comes back. A picture carries its number, in dark and bright
blocks, and an answer shows the pictures that it was made from: so it is known how old its newest one is.
"""

from __future__ import annotations

import asyncio
import base64
import html
import io
import json
import os
import re
import secrets
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
from PIL import Image

from benchmarks import networks
from benchmarks.race import Row, row
from benchmarks.space import ROOT, running

EVERY = 0.2  # seconds from picture to picture
SECONDS = 30.0  # that are measured, after WARM
WARM = 5.0
SIZE = (320, 240)
BITS, BLOCK = 8, 40  # of a picture's number, and pixels of the side of each in it
CROWDS = (1, 4)  # visitors at a time


@dataclass
class Camera:
    """One visitor: when each picture was sent, and the answers, as (when, seconds since its newest picture)."""

    session: str = field(default_factory=lambda: secrets.token_hex(6))
    sent: dict[int, float] = field(default_factory=dict)
    answers: list[tuple[float, float]] = field(default_factory=list)
    event: str = ""

    def hear(self, strip: str) -> None:
        now = time.perf_counter()
        number = number_of(strip)
        if number in self.sent:
            self.answers.append((now, now - self.sent[number]))


def pictures(video: Path) -> list[str]:
    """A numbered picture for each number, as data URLs."""
    with av.open(str(video)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frames = [Image.fromarray(pixels).resize(SIZE) for pixels in decoded]
    frames += frames[-2:0:-1]  # there and back, so that nothing jumps
    return [_url(_numbered(frames[index * 5 % len(frames)], index)) for index in range(2**BITS)]


def _numbered(frame: Image.Image, number: int) -> Image.Image:
    pixels = np.array(frame)
    for bit in range(BITS):
        pixels[-BLOCK:, bit * BLOCK : (bit + 1) * BLOCK] = 255 if number >> bit & 1 else 0
    return Image.fromarray(pixels)


def _url(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def number_of(strip: str) -> int:
    """The number of the last picture in the strip that an answer shows, which is an element of HTML."""
    found = re.search(r'src="data:image/jpeg;base64,([^"]+)"', html.unescape(strip))
    if found is None:
        raise ValueError("an answer without a strip of pictures")
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as picture:
        grey = np.asarray(picture.convert("L"))
    width = grey.shape[0] * SIZE[0] // SIZE[1]
    block = width // BITS
    last = grey[-block // 2, -width:]
    return sum(1 << bit for bit in range(BITS) if last[bit * block + block // 2] > 127)


async def watched(url: str, camera: Camera, urls: Sequence[str], seconds: float) -> None:
    """Posts and listens for so long; begins anew when the page takes the next visitor's turn."""
    async with httpx.AsyncClient(base_url=f"{url}/gradio_api/", timeout=60) as http:
        functions = (await http.get(f"{url}/config")).json()["dependencies"]
        look = next(each["id"] for each in functions if each["api_name"] == "on_frame")
        poster = asyncio.create_task(_post(http, camera, urls, look))
        with suppress(TimeoutError):
            await asyncio.wait_for(_listen(http, camera), seconds)
        poster.cancel()
        with suppress(asyncio.CancelledError):
            await poster


def _body(camera: Camera, urls: Sequence[str], number: int) -> dict[str, Any]:
    picture = {"path": None, "url": urls[number], "meta": {"_type": "gradio.FileData"}}
    camera.sent[number] = time.perf_counter()
    return {"data": [picture, None], "session_hash": camera.session}


async def _post(http: httpx.AsyncClient, camera: Camera, urls: Sequence[str], look: int) -> None:
    number, due = 0, time.perf_counter()
    while True:
        body = _body(camera, urls, number)
        if camera.event:
            await http.post(f"stream/{camera.event}", json=body)
        else:
            joined = await http.post("queue/join", json={**body, "fn_index": look})
            camera.event = joined.json()["event_id"]
        number, due = (number + 1) % len(urls), max(due + EVERY, time.perf_counter())
        await asyncio.sleep(due - time.perf_counter())


async def _listen(http: httpx.AsyncClient, camera: Camera) -> None:
    while True:
        if not camera.event:
            await asyncio.sleep(0.01)
            continue
        async with http.stream("GET", "queue/data", params={"session_hash": camera.session}) as lines:
            async for line in lines.aiter_lines():
                said = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if said.get("msg") == "process_streaming" and said["success"]:
                    camera.hear(said["output"]["data"][2])
                elif said.get("msg") == "process_completed":
                    camera.event = ""


def wait_for_model(url: str) -> None:
    while httpx.get(f"{url}/health", timeout=60).json().get("state", "loading") == "loading":  # or it is not up yet
        time.sleep(0.1)


async def crowd(url: str, urls: Sequence[str], visitors: int, seconds: float) -> list[Camera]:
    """So many cameras at a time."""
    cameras = [Camera() for _ in range(visitors)]
    await asyncio.gather(*(watched(url, each, urls, seconds) for each in cameras))
    return cameras


def rows(folder: Path, rounds: int, models: Sequence[str]) -> Iterator[Row]:
    urls = pictures(ROOT / "examples" / "wave.mp4")
    for name in models:
        with running(networks.folder_of(name, folder)) as app:
            wait_for_model(app.url)
            for visitors in CROWDS:
                load = os.getloadavg()[0]
                cameras = asyncio.run(crowd(app.url, urls, visitors, WARM + SECONDS))
                yield from table(cameras, f"{visitors} visitor{'s' * (visitors > 1)}, {name}", f"load {load:.1f}")


def table(cameras: Sequence[Camera], who: str, load: str) -> Iterator[Row]:
    """Answers a second of each camera, and how old the newest picture of an answer is."""
    end = max(when for camera in cameras for when, _ in camera.answers)
    late = [[age for when, age in camera.answers if when > end - SECONDS] for camera in cameras]
    counts = [len(each) for each in late]
    share = f"the least served gets {min(counts) / max(max(counts), 1):.0%} of the most served"
    yield row("live", f"answers a second for each of {who}", "hmdb", [each / SECONDS for each in counts], "/s", share)
    ages = sorted(1e3 * age for each in late for age in each)
    ninety_five = f"95 % within {statistics.quantiles(ages, n=20)[-1]:.0f} ms; {load}"
    yield row("live", f"camera to answer, {who}", "hmdb", ages, "ms", ninety_five)
