"""How the model comes to an answer, step by step, on the visitor's own clip.

All pictures travel within the page's own text: they are the few small frames that the network sees.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from hmdb.page.views.gallery import caption
from hmdb.text import label_words

if TYPE_CHECKING:
    from hmdb.explain.patch_attention import PatchAttention
    from hmdb.model.calibration import ReliabilityBin
    from hmdb.results import Explanation, Prediction

FRAME_SIDE = 336  # pixels of the longer side of a large picture; the small ones get half of it
OUTLINE = (255, 214, 10)
MAX_DOTS = 100
DIM_OPACITY = 0.25  # of the brightness of a patch that gets no attention


@dataclass(frozen=True, kw_only=True, eq=False)
class AnswerTrace:
    """What the steps are told from.

    Attributes:
        explanation: the answer, and what mattered for it.
        attention: of the patch that mattered most.
        seen: the frames as the network sees them, uint8 RGB (T, height, width, 3).
        alike: the validation clips that were answered as surely; None where nobody counted.
    """

    explanation: Explanation
    attention: PatchAttention
    seen: np.ndarray
    alike: ReliabilityBin | None


def walkthrough_html(closer: AnswerTrace) -> str:
    """The steps as one piece of HTML."""
    told = (_frames, _patches, _time, _space, _weighed, _sureness)
    parts = filter(None, (step(closer) for step in told))
    return f'<ol class="steps">{"".join(f"<li>{part}</li>" for part in parts)}</ol>'


def _frames(closer: AnswerTrace) -> str:
    clip = closer.explanation.prediction.clip
    made_up = any(frame.kind != "real" for frame in clip.frames)
    why = " The video is too short for that, so some are played backwards, blended or brightened." if made_up else ""
    words = [caption(frame) for frame in clip.frames]
    height, width = closer.seen.shape[1:3]
    return _step(
        f"It takes {len(clip.frames)} frames",
        f"That is all it sees of the video, each scaled to {width} × {height} pixels.{why}",
        _row(closer.seen, words),
    )


def _patches(closer: AnswerTrace) -> str:
    rows, columns = closer.attention.over_space.shape
    label = label_words(closer.explanation.label or closer.explanation.prediction.label)
    picture = _enlarged(_chosen(closer))
    draw = ImageDraw.Draw(picture)
    for row in range(1, rows):
        draw.line((0, row * picture.height / rows, picture.width, row * picture.height / rows), (255, 255, 255))
    for column in range(1, columns):
        draw.line((column * picture.width / columns, 0, column * picture.width / columns, picture.height), (255,) * 3)
    _outline(picture, closer.attention)
    return _step(
        "It cuts each into patches",
        f"{columns} × {rows} to a frame, and each is described by what is in it. The outlined one mattered most for "
        f"“{label}”. The next steps follow it.",
        _img(picture, "A frame, cut into patches; one is outlined"),
    )


def _time(closer: AnswerTrace) -> str:
    attention = closer.attention
    found = attention.over_time / attention.over_time.sum()
    frames = closer.seen[:: attention.frames]
    how = "It compares the patch with the same place in all frames" + _joint_note(attention)
    return _step(
        "It looks along time",
        f"{how}, and takes more from where the bar is longer.",
        _row(frames, [f"{share:.0%}" for share in found], shares=found, attention=attention),
    )


def _space(closer: AnswerTrace) -> str:
    attention = closer.attention
    share = attention.over_space / attention.over_space.max()
    frame = _chosen(closer)
    light = np.kron(DIM_OPACITY + (1 - DIM_OPACITY) * share, np.ones((-(-frame.shape[0] // share.shape[0]),) * 2))
    light = np.asarray(Image.fromarray(light.astype(np.float32)).resize(frame.shape[1::-1], Image.Resampling.NEAREST))
    picture = _enlarged(np.rint(frame * light[..., None]).astype(np.uint8))
    _outline(picture, attention)
    then = "Then it compares" if attention.divided else "It also compares"
    return _step(
        "It looks around in the frame",
        f"{then} the patch with all others of its frame, and takes more from the bright ones. This is block "
        f"{attention.block + 1} of {attention.num_blocks}: it does so in each, for every patch.",
        _img(picture, "The frame, bright where the outlined patch takes most from"),
    )


def _weighed(closer: AnswerTrace) -> str:
    prediction = closer.explanation.prediction
    doubt = "" if prediction.is_known else f" {prediction.rejection_reason} So it says: none of these."
    return _step(
        "It weighs every action",
        f"From all patches together comes a percentage for each action; these are the highest.{doubt}",
        _bars(prediction),
    )


def _sureness(closer: AnswerTrace) -> str:
    alike, probability = closer.alike, closer.explanation.prediction.probability
    if alike is None:
        return ""
    return _step(
        f"What {probability:.0%} means",
        f"{alike.count} videos that it never learned from got an answer about as sure, {alike.low:.0%} to "
        f"{alike.high:.0%}. It was right on {alike.right} of them: {alike.right / alike.count:.0%}.",
        _dots(alike) if alike.count <= MAX_DOTS else "",
    )


def _dots(alike: ReliabilityBin) -> str:
    """One for each clip, full where the answer was right."""
    full, empty = "<i></i>" * alike.right, "<b></b>" * (alike.count - alike.right)
    return f'<div class="dots" aria-hidden="true">{full}{empty}</div>'


def _step(large: str, small: str, picture: str) -> str:
    return f"<h2>{html.escape(large)}</h2><p>{html.escape(small)}</p>{picture}"


def _joint_note(attention: PatchAttention) -> str:
    return "" if attention.divided else ", within one look at everything"


def _chosen(closer: AnswerTrace) -> np.ndarray:
    """The frame with the patch, uint8 RGB (height, width, 3)."""
    frame: np.ndarray = closer.seen[closer.attention.place[0] * closer.attention.frames]
    return frame


def _row(
    frames: np.ndarray,
    captions: Sequence[str],
    *,
    shares: np.ndarray | None = None,
    attention: PatchAttention | None = None,
) -> str:
    """Frames side by side with a line under each, and a bar where there are shares."""
    figures = []
    for index, (frame, words) in enumerate(zip(frames, captions, strict=True)):
        picture = _enlarged(frame, FRAME_SIDE // 2)
        if attention is not None:
            _outline(picture, attention)
        bar = "" if shares is None else f'<i style="width:{shares[index] / shares.max():.0%}"></i>'
        alt = f"Frame {index + 1}"
        figures.append(f"<figure>{_img(picture, alt)}{bar}<figcaption>{html.escape(words)}</figcaption></figure>")
    return f'<div class="frames-of">{"".join(figures)}</div>'


def _bars(prediction: Prediction) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(label_words(label))}</th><td class="share">'
        f'<i style="width:{share:.0%}"></i><span>{share:.0%}</span></td></tr>'
        for label, share in zip(prediction.labels, prediction.probabilities, strict=True)
    )
    return f'<table class="runs"><tbody>{rows}</tbody></table>'


def _enlarged(pixels: np.ndarray, side: int = FRAME_SIDE) -> Image.Image:
    scale = side / max(pixels.shape[:2])
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def _outline(picture: Image.Image, attention: PatchAttention) -> None:
    rows, columns = attention.over_space.shape
    _, row, column = attention.place
    high, wide = picture.height / rows, picture.width / columns
    box = (column * wide, row * high, (column + 1) * wide - 1, (row + 1) * high - 1)
    ImageDraw.Draw(picture).rectangle(box, outline=OUTLINE, width=max(picture.width // 80, 2))


def _img(picture: Image.Image, alt: str) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(alt)}">'
