"""The page's title, Gradio theme and changed captions; static/page.css has what the theme has no option for."""

from __future__ import annotations

import gradio as gr

TITLE = "What are they doing?"
INTRO = "Show it a short video, or yourself, and it names the action: one of a fixed list, or none of them."

THEME = gr.themes.Soft(
    primary_hue="indigo",
    neutral_hue="slate",
    radius_size="lg",
    font=(gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif"),
    font_mono=(gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"),
).set(
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    body_text_color_subdued="*neutral_600",  # contrast of 4.5 to 1 and more, on both backgrounds
    body_text_color_subdued_dark="*neutral_300",
    block_label_text_color="*neutral_700",
    block_label_text_color_dark="*neutral_200",
    block_label_background_fill="*background_fill_primary",
    block_title_text_color="*neutral_700",
    block_info_text_color="*neutral_600",
    block_border_width="1px",
    block_shadow="none",
    stat_background_fill="*primary_500",
    stat_background_fill_dark="*primary_400",
    checkbox_label_background_fill_selected="*primary_600",
    checkbox_label_background_fill_selected_dark="*primary_600",
    checkbox_background_color_selected="*primary_800",
    link_text_color="*primary_700",
    link_text_color_dark="*primary_300",
)

TRANSLATIONS = gr.I18n(
    en={
        "upload_text.drop_file": "Drop a video",
        "upload_text.click_to_upload": "click to choose one",
        "audio.record": "Start",
    }
)  # in place of Gradio's own captions, which do not fit here
