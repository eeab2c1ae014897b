"""Importing Gradio without its type stubs."""

import subprocess
import sys

CODE = """
import inspect, sys
from hmdb.page.server.type_stubs import without_type_stubs

opened, file_of = [], inspect.getfile
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
with without_type_stubs():
    import gradio
    assert inspect.getfile(sys.modules["json"].JSONDecoder)
assert inspect.getfile is file_of
assert any(name.endswith(".pyc") for name in opened)
assert not [name for name in opened if name.endswith(".pyi")]
assert inspect.getfile(gradio.Video).endswith("video.py")
assert callable(gradio.Video.upload)
"""


def test_importing_gradio_opens_no_stubs() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
