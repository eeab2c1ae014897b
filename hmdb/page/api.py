"""The endpoints of the API, which are also the MCP tools.

They have hidden components of their own, so that the page can change without them.
"""

from __future__ import annotations

import gradio as gr

from hmdb.page.server.gradio_patches import pass_upload_path
from hmdb.page.service.handlers import PREDICTED_CHOICE, Handlers
from hmdb.page.tabs.base import SCHEDULED


def build_api(do: Handlers) -> None:
    """Adds the endpoints and their components to the Blocks that are open."""
    with gr.Column(visible=False):
        ask = gr.Button()
        video = pass_upload_path(gr.File(label="Video"))
        answer = [
            gr.Label(label="Predicted action", num_top_classes=1),
            gr.Markdown(label="In words"),
            gr.BarPlot(label="Top five", x="action", y="probability"),
            gr.Gallery(label="The frames it looked at"),
            gr.JSON(label="Answer"),
        ]
        ask.click(do.predict, video, answer, api_name="predict", **SCHEDULED)

        label = gr.Textbox(PREDICTED_CHOICE, label="label")
        opacity = gr.Slider(0, 1, 0.7, label="Opacity")
        opacity.preprocess = lambda payload: payload  # type: ignore[method-assign]  # the handler checks it
        explanation = [gr.Gallery(label="Where it looked"), gr.JSON(label="Explanation")]
        ask.click(do.explain, [video, label, opacity], explanation, api_name="explain", **SCHEDULED)
        ask.click(do.check, [video, label], gr.Markdown(label="Check of the map"), api_name="check", **SCHEDULED)

        timeline = [
            gr.Markdown(label="In words"),
            gr.Plot(label="Which action when"),
            gr.Dataframe(
                label="Segments",
                headers=["start", "end", "action", "probability"],
                datatype=["number", "number", "str", "number"],
            ),
            gr.Files(label="The segments as JSON, CSV and subtitles (SRT)"),
            gr.JSON(label="Timeline"),
        ]
        ask.click(do.timeline, video, timeline, api_name="timeline", **SCHEDULED)

        comparison = [
            gr.Markdown(label="Agreement"),
            gr.Dataframe(label="Top five of each"),
            gr.Gallery(label="The frames of each, row by row"),
        ]
        ask.click(do.compare, video, comparison, api_name="compare", **SCHEDULED)
        ask.click(do.labels, None, gr.JSON(label="Labels"), api_name="labels")
        ask.click(do.model, None, gr.JSON(label="Model"), api_name="model")
