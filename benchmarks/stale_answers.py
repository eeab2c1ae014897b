"""Answers beside the wrong video: `python -m benchmarks.stale_answers` clicks examples on a slow device.

Chromium slows its own processor down. After each burst of one to three quick clicks the page comes to rest; then its
player, headline, sentences and framed example must belong to the example that was clicked last.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Page

from benchmarks.clicks import WAIT, Visit, new_page, opened
from benchmarks.space import running

SHOWN = """() => {
    const panel = [...document.querySelectorAll("[role=tabpanel]")].find(each => each.offsetParent);
    const examples = [...panel.querySelectorAll(".examples .thumbnail-item")];
    return {
        video: panel.querySelector(".player video")?.src.split("/").pop(),
        headline: panel.querySelector(".headline strong")?.textContent,
        sentences: [...panel.querySelectorAll(".line")].map(each => each.textContent),
        framed: examples.findIndex(each => each.classList.contains("selected")),
    };
}"""


def at_rest(page: Page) -> dict[str, Any]:
    """Returns what the page shows once it has not changed for two seconds and nothing is in progress."""
    before: dict[str, Any] = {}
    quiet = 0
    while quiet < 8:
        page.wait_for_timeout(250)
        shown = page.evaluate(SHOWN)
        busy = "Working" in page.locator(".headline").locator("visible=true").first.inner_text()
        quiet = quiet + 1 if shown == before and not busy else 0
        before = shown
    return before


def bursts(clicks: int, examples: int, seed: int) -> Iterator[list[tuple[int, int]]]:
    """Yields examples to click and milliseconds to wait before each."""
    draw = random.Random(seed)
    while clicks > 0:
        burst = [(draw.randrange(examples), draw.randrange(20, 900)) for _ in range(min(clicks, draw.randrange(1, 4)))]
        clicks -= len(burst)
        yield burst


def stale(url: str, throttle: int, clicks: int, seed: int) -> tuple[int, int]:
    """Returns the bursts that ended with something of another example, and all bursts."""
    with new_page(url) as page:
        opened(Visit(page), None).wait_for(timeout=WAIT)  # type: ignore[arg-type]
        examples = page.locator(".examples .thumbnail-item").locator("visible=true")
        expected: list[dict[str, Any]] = []
        for index in range(examples.count()):
            examples.nth(index).click()
            expected.append(at_rest(page))
        if len({each["video"] for each in expected}) < len(expected):
            raise RuntimeError("two examples look the same at rest")
        page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": throttle})
        wrong = total = 0
        for burst in bursts(clicks, examples.count(), seed):
            for index, pause in burst:
                page.wait_for_timeout(pause)
                examples.nth(index).click()
            shown = at_rest(page)
            wrong, total = wrong + (shown != expected[burst[-1][0]]), total + 1
    return wrong, total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=60)
    parser.add_argument("--throttle", type=int, nargs="+", default=[1, 4, 6])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with running() as app:
        print("| times slower | clicks | bursts | wrong at rest |\n|---:|---:|---:|---:|")
        for throttle in args.throttle:
            wrong, total = stale(app.url, throttle, args.clicks, args.seed)
            print(f"| {throttle} | {args.clicks} | {total} | {wrong} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
