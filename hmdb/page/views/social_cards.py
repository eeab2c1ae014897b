"""What other sites show of a link to the page, or to one of its examples: a title, a line and a picture."""

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
from hmdb.text import label_words
from hmdb.video import open_video

PARAMETER = "example"  # of an address, names the example to open with; sync_example_link.js reads it, too
CARD_SIZE = (1200, 630)  # pixels of a picture, as the sites that show one recommend
BAND_HEIGHT = 150  # pixels of it, for words
PAPER, INK = (30, 27, 75), (255, 255, 255)
CARDS = "cards"  # folder of the pictures, beside the examples
PAGE_CARD = "cards.jpg"  # the picture of the page
GRADIO_META_TAGS = re.compile(rb'<meta\s+(?:property|name)="(?:og|twitter):[^"]*"\s+content="[^"]*"\s*/>\s*')


class ExampleLinks:
    """Addresses of the page and what is shown of them.

    Attributes:
        clips: the examples, in a folder whose files are served.
        frames: uint8 RGB (H, W, 3) of each.
    """

    def __init__(self, clips: Sequence[Path] = (), frames: Sequence[np.ndarray] = ()) -> None:
        self.clips, self.frames = clips, frames
        for clip, frame in zip(clips, frames, strict=True):
            path = _made(clip.parent / CARDS / f"{clip.stem}.jpg")
            social_card(Image.fromarray(frame), _title(clip)).save(path, quality=85)
        if clips:
            social_card(_sheet(frames), TITLE).save(clips[0].parent / PAGE_CARD, quality=85)

    def clip(self, name: str | None) -> Path | None:
        """The example that an address names."""
        return next((clip for clip in self.clips if clip.stem == name), None)

    def link(self, clip: Path) -> str:
        """A line with the address of an example."""
        return render("example_link.html", address=f"?{PARAMETER}={quote(clip.stem)}")

    def tagged(self, page: bytes, root: str, query: str) -> bytes:
        """The page's HTML with tags for other sites in place of Gradio's, at its start: some read no further.

        Args:
            root: the page's address as the asker sees it.
            query: of the address that was asked for.
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
    return f"{TITLE} {label_words(clip.stem).capitalize()}!"


def social_card(picture: Image.Image, words: str) -> Image.Image:
    """The picture with words under it, in the size in which sites show one."""
    whole = Image.new("RGB", CARD_SIZE, PAPER)
    whole.paste(ImageOps.fit(picture, (CARD_SIZE[0], CARD_SIZE[1] - BAND_HEIGHT)))
    font = ImageFont.load_default(size=BAND_HEIGHT * 0.4)
    ImageDraw.Draw(whole).text(
        (CARD_SIZE[0] / 2, CARD_SIZE[1] - BAND_HEIGHT / 2), words, fill=INK, font=font, anchor="mm"
    )
    return whole


def _sheet(frames: Sequence[np.ndarray]) -> Image.Image:
    """The frames in two rows."""
    columns = -(-len(frames) // 2)
    size = (CARD_SIZE[0] // columns, (CARD_SIZE[1] - BAND_HEIGHT) // 2)
    sheet = Image.new("RGB", (size[0] * columns, size[1] * 2), PAPER)
    for index, frame in enumerate(frames):
        place = (index % columns * size[0], index // columns * size[1])
        sheet.paste(ImageOps.fit(Image.fromarray(frame), size), place)
    return sheet


def _made(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return path


def example_names(clips: Sequence[Path]) -> list[str]:
    """What each shows, as people write it."""
    return [label_words(clip.stem) for clip in clips]


def middle_frame(clip: Path) -> np.ndarray:
    """A frame from the middle, uint8 RGB (H, W, 3)."""
    video = open_video(clip)
    frame: np.ndarray = video.frames_at([video.num_frames // 2]).pixels[0]
    return frame
