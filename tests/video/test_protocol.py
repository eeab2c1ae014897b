import io

import pytest

from hmdb.video.limits import Limits
from hmdb.video.protocol import (
    MAX_MESSAGE,
    Confinement,
    ProtocolError,
    StreamInfo,
    read_into,
    read_message,
    write_all,
    write_message,
)


class Trickle(io.BytesIO):
    """A pipe that takes and gives three bytes at a time."""

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        return super().readinto(buffer[:3])

    def write(self, data: memoryview, /) -> int:  # type: ignore[override]
        return super().write(data[:3])


def test_messages_and_pixels_survive_partial_reads_and_writes() -> None:
    pipe = Trickle()
    write_message(pipe, {"frames": 2, "seconds": [0.5, None]})
    write_all(pipe, b"pixels")
    write_message(pipe, {})
    pipe.seek(0)
    pixels = bytearray(6)
    assert read_message(pipe) == {"frames": 2, "seconds": [0.5, None]}
    read_into(pipe, memoryview(pixels))
    assert pixels == b"pixels"
    assert read_message(pipe) == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "has ended"),
        (b"\0\0", "has ended"),
        (b"\0\0\0\5{}", "has ended"),
        (b"\0\0\0\2[]", "not a JSON object"),
        (b"\0\0\0\2}{", "not JSON"),
        (b"\0\0\0\2\xff\xff", "not JSON"),
        ((MAX_MESSAGE + 1).to_bytes(4), f"a message of {MAX_MESSAGE + 1} bytes"),
    ],
)
def test_an_invalid_message_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        read_message(io.BytesIO(data))


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_frames": 0},
        {"num_frames": 10**9},
        {"width": 10**6, "height": 10**6},
        {"width": -1},
        {"fps": float("nan")},
        {"fps": "25"},
        {"decoder": "<b>"},
        {"damaged": "yes"},
        {"codec": "<script>"},
        {"profile": "High" * 20},
        {"pixel_format": None},
        {"more": 1},
    ],
    ids=str,
)
def test_invalid_stream_info_is_refused(wrong: dict[str, object]) -> None:
    values = {
        "num_frames": 30,
        "fps": 25.0,
        "width": 160,
        "height": 120,
        "decoder": "PyAV",
        "damaged": False,
        "announced": 0,
        "codec": "h264",
        "profile": "High 4:4:4 Predictive",
        "pixel_format": "yuv444p",
    }
    assert StreamInfo.checked(values, Limits()).num_frames == 30
    with pytest.raises(ProtocolError):
        StreamInfo.checked(values | wrong, Limits())


@pytest.mark.parametrize("wrong", [{"seccomp": "yes"}, {"landlock": True}, {"more": 1}], ids=str)
def test_an_invalid_confinement_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ProtocolError, match="an invalid confinement"):
        Confinement.checked(vars(Confinement()) | wrong)
