"""Link previews: Open Graph tags and pictures for the page and each of its examples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, quote

import numpy as np
from gradio.route_utils import API_PREFIX
from PIL import Image, ImageDraw, ImageFont, ImageOps

from hmdb.page.views.assets import render
from hmdb.page.views.theme import INTRO, TITLE
from hmdb.text import action_name
from hmdb.video import open_video

PARAMETER = "example"  # of an address, names the example to open with; sync_example_link.js reads it, too
CARD_SIZE = (1200, 630)  # pixels, as social networks recommend
BAND_HEIGHT = 150  # pixels of the band with the title
BACKGROUND, TEXT_COLOR = (30, 27, 75), (255, 255, 255)
CARD_QUALITY = 85
CARDS = "cards"  # folder of the pictures of examples, in that of the examples
PAGE_CARD = "cards.jpg"  # picture of the page
GRADIO_META_TAGS = re.compile(rb'<meta\s+(?:property|name)="(?:og|twitter):[^"]*"\s+content="[^"]*"\s*/>\s*')


class ExampleLinks:
    """The examples with their addresses and link previews; their pictures are written when it is made.

    Attributes:
        clips: the examples, in the public folder of the store.
        frames: a frame of each, uint8 RGB (H, W, 3).
    """

    def __init__(self, clips: Sequence[Path] = (), frames: Sequence[np.ndarray] = ()) -> None:
        self.clips, self.frames = clips, frames
        for clip, frame in zip(clips, frames, strict=True):
            (clip.parent / CARDS).mkdir(exist_ok=True)
            card = social_card(Image.fromarray(frame), _title(clip))
            card.save(clip.parent / CARDS / f"{clip.stem}.jpg", quality=CARD_QUALITY)
        if clips:
            social_card(_contact_sheet(frames), TITLE).save(clips[0].parent / PAGE_CARD, quality=CARD_QUALITY)

    def clip(self, name: str | None) -> Path | None:
        """The example with this name; None if there is none."""
        return next((clip for clip in self.clips if clip.stem == name), None)

    def link(self, clip: Path) -> str:
        """A line of HTML with the address of an example."""
        return render("example_link.html", address=f"?{PARAMETER}={quote(clip.stem)}")

    def with_meta_tags(self, page: bytes, root: str, query: str) -> bytes:
        """Replaces Gradio's link preview tags, at the start of the head: some sites read no further.

        Args:
            page: the page's HTML.
            root: the page's address as the client sees it.
            query: the query of the requested address.
        """
        (name,) = parse_qs(query).get(PARAMETER, [""])[:1]
        clip = self.clip(name)
        picture = f"{CARDS}/{quote(clip.stem)}.jpg" if clip else PAGE_CARD
        tags = render(
            "meta_tags.html",
            title=_title(clip) if clip else TITLE,
            description=INTRO,
            url=f"{root}/?{PARAMETER}={quote(clip.stem)}" if clip else f"{root}/",
            picture=f"{root}{API_PREFIX}/file=examples/{picture}" if self.clips else None,
            width=CARD_SIZE[0],
            height=CARD_SIZE[1],
        )
        return GRADIO_META_TAGS.sub(b"", page).replace(b"<head>", f"<head>\n{tags}".encode(), 1)


def _title(clip: Path) -> str:
    return f"{TITLE} {action_name(clip.stem).capitalize()}!"


def social_card(picture: Image.Image, words: str) -> Image.Image:
    """Draws a card of CARD_SIZE: a picture over a band with words."""
    whole = Image.new("RGB", CARD_SIZE, BACKGROUND)
    whole.paste(ImageOps.fit(picture, (CARD_SIZE[0], CARD_SIZE[1] - BAND_HEIGHT)))
    font = ImageFont.load_default(size=BAND_HEIGHT * 0.4)
    ImageDraw.Draw(whole).text(
        (CARD_SIZE[0] / 2, CARD_SIZE[1] - BAND_HEIGHT / 2), words, fill=TEXT_COLOR, font=font, anchor="mm"
    )
    return whole


def _contact_sheet(frames: Sequence[np.ndarray]) -> Image.Image:
    """Tiles the frames in two rows."""
    columns = -(-len(frames) // 2)
    size = (CARD_SIZE[0] // columns, (CARD_SIZE[1] - BAND_HEIGHT) // 2)
    sheet = Image.new("RGB", (size[0] * columns, size[1] * 2), BACKGROUND)
    for index, frame in enumerate(frames):
        place = (index % columns * size[0], index // columns * size[1])
        sheet.paste(ImageOps.fit(Image.fromarray(frame), size), place)
    return sheet


def example_names(clips: Sequence[Path]) -> list[str]:
    """The actions that the examples show, as people write them."""
    return [action_name(clip.stem) for clip in clips]


def middle_frame(clip: Path) -> np.ndarray:
    """Decodes the middle frame, uint8 RGB (H, W, 3)."""
    video = open_video(clip)
    frame: np.ndarray = video.frames_at([video.num_frames // 2]).pixels[0]
    return frame
