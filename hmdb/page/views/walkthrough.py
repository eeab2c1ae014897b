"""The step-by-step walkthrough of an answer, on the visitor's own clip.

Its pictures are data URLs within the HTML: they are the few small frames that the network gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from hmdb.page.views.assets import render
from hmdb.page.views.gallery import caption, jpeg_data_url
from hmdb.text import action_name

if TYPE_CHECKING:
    from hmdb.explain.patch_attention import PatchAttention
    from hmdb.model.calibration import ReliabilityBin
    from hmdb.results import Explanation

FRAME_SIDE = 336  # pixels of the longer side of a large picture; the small ones get half of it
GRID, OUTLINE = (255, 255, 255), (255, 214, 10)
MAX_DOTS = 100
DIM_OPACITY = 0.25  # of the brightness of a patch that gets no attention

FrameRow = list[tuple[str, str, float | None]]  # data URL, caption, length of the bar under it in 0..1


@dataclass(frozen=True, kw_only=True, eq=False)
class AnswerTrace:
    """The data of a walkthrough.

    Attributes:
        explanation: the answer and its map.
        attention: of the patch that mattered most.
        input_frames: the frames at the network's size, uint8 RGB (T, height, width, 3).
        sees_order: whether the order of the frames can change the answer.
        calibration_bin: the validation clips whose answers had about the same probability; None where the
            checkpoint has none.
    """

    explanation: Explanation
    attention: PatchAttention
    input_frames: np.ndarray
    sees_order: bool
    calibration_bin: ReliabilityBin | None


def walkthrough_html(trace: AnswerTrace) -> str:
    """The steps from frames to an answer, as one piece of HTML."""
    prediction, attention, frames = trace.explanation.prediction, trace.attention, trace.input_frames
    over_time = attention.over_time / attention.over_time.sum()
    rows, columns = attention.over_space.shape
    return render(
        "walkthrough.html",
        frames=_frame_row(frames, [caption(frame) for frame in prediction.clip.frames]),
        height=frames.shape[1],
        width=frames.shape[2],
        synthetic=any(frame.kind != "real" for frame in prediction.clip.frames),
        divided=attention.divided,
        sees_order=trace.sees_order,
        block=attention.block + 1,
        num_blocks=attention.num_blocks,
        rows=rows,
        columns=columns,
        label=action_name(trace.explanation.label or prediction.label),
        patches=_patches(trace),
        over_time=_frame_row(
            frames[:: attention.frames], [f"{share:.0%}" for share in over_time], over_time, attention
        ),
        over_space=_attended_places(trace),
        actions=[
            (action_name(label), None, probability)
            for label, probability in zip(prediction.labels, prediction.probabilities, strict=True)
        ],
        doubt=None if prediction.is_known else prediction.rejection_reason,
        probability=prediction.probability,
        similar=trace.calibration_bin,
        max_dots=MAX_DOTS,
    )


def _frame_row(
    frames: np.ndarray,
    captions: Sequence[str],
    shares: np.ndarray | None = None,
    attention: PatchAttention | None = None,
) -> FrameRow:
    """A row of frames with captions, bars in proportion to `shares`, and the patch of `attention` outlined."""
    row: FrameRow = []
    for index, (frame, words) in enumerate(zip(frames, captions, strict=True)):
        picture = _enlarge(frame, FRAME_SIDE // 2)
        if attention is not None:
            _outline(picture, attention)
        row.append((jpeg_data_url(picture), words, None if shares is None else float(shares[index] / shares.max())))
    return row


def _patches(trace: AnswerTrace) -> str:
    """The frame with the patch, under the grid of all patches: a data URL."""
    rows, columns = trace.attention.over_space.shape
    picture = _enlarge(_patch_frame(trace))
    draw = ImageDraw.Draw(picture)
    for row in range(1, rows):
        draw.line((0, row * picture.height / rows, picture.width, row * picture.height / rows), GRID)
    for column in range(1, columns):
        draw.line((column * picture.width / columns, 0, column * picture.width / columns, picture.height), GRID)
    _outline(picture, trace.attention)
    return jpeg_data_url(picture)


def _attended_places(trace: AnswerTrace) -> str:
    """The frame with the patch, brighter where the patch attends to: a data URL."""
    share = trace.attention.over_space / trace.attention.over_space.max()
    frame = _patch_frame(trace)
    light = np.kron(DIM_OPACITY + (1 - DIM_OPACITY) * share, np.ones((-(-frame.shape[0] // share.shape[0]),) * 2))
    light = np.asarray(Image.fromarray(light.astype(np.float32)).resize(frame.shape[1::-1], Image.Resampling.NEAREST))
    picture = _enlarge(np.rint(frame * light[..., None]).astype(np.uint8))
    _outline(picture, trace.attention)
    return jpeg_data_url(picture)


def _patch_frame(trace: AnswerTrace) -> np.ndarray:
    """The frame with the patch, uint8 RGB (height, width, 3)."""
    frame: np.ndarray = trace.input_frames[trace.attention.place[0] * trace.attention.frames]
    return frame


def _enlarge(pixels: np.ndarray, side: int = FRAME_SIDE) -> Image.Image:
    scale = side / max(pixels.shape[:2])
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def _outline(picture: Image.Image, attention: PatchAttention) -> None:
    """Draws a box around the patch."""
    rows, columns = attention.over_space.shape
    _, row, column = attention.place
    high, wide = picture.height / rows, picture.width / columns
    box = (column * wide, row * high, (column + 1) * wide - 1, (row + 1) * high - 1)
    ImageDraw.Draw(picture).rectangle(box, outline=OUTLINE, width=max(picture.width // 80, 2))
