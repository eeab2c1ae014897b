"""How the page looks: its theme, and the little that the theme has no option for."""

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
    body_text_color_subdued="*neutral_600",  # 4.5 to 1 and more, on both backgrounds
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

CSS = """
.gradio-container {width: 100%; max-width: min(1240px, 100vw) !important; margin: 0 auto !important}
.gradio-container :is(.main, .wrap, .contain, .tabs, .tabitem) {min-width: 0; width: 100%}
.tab-container button {font-size: var(--text-lg)}
.column:empty {display: none}
button.label-wrap span {text-align: left}
.html-container {padding: 0 !important}

.pictures {min-width: 0 !important; border: none !important; background: none !important}
.pictures .grid-wrap {max-height: none !important; min-height: 0 !important; padding: 0 !important; overflow-x: auto}
.pictures .grid-container {padding: 2px !important; gap: var(--spacing-md) !important}
.pictures .thumbnail-lg {aspect-ratio: auto !important; height: auto !important; flex-direction: column}
.pictures .thumbnail-lg img {width: 100%; height: auto !important}
.pictures .caption-label {position: static !important; max-width: 100% !important; white-space: normal;
    border: none !important; background: none !important; box-shadow: none !important; text-align: center;
    color: var(--body-text-color) !important; font-size: var(--text-sm)}
.rows .grid-container {grid-auto-rows: auto !important; grid-template-columns: repeat(8, minmax(0, 1fr)) !important}
.rows .caption-label {display: none}
.rows .thumbnail-lg, .rows img {border-radius: var(--radius-sm) !important}
.examples .grid-container {grid-template-columns: repeat(8, minmax(5rem, 1fr)) !important}

.camera {height: auto !important; aspect-ratio: 4 / 3}
.line a {text-decoration: underline}

.headline strong {display: block; font-size: 2rem; line-height: 1.2}
.headline strong:empty {display: none}
.headline span, .line {color: var(--body-text-color-subdued)}
.headline.problem strong {font-size: var(--text-xl)}
.confidence-set {font-family: var(--font) !important}
.confidence-set .bar {height: .6rem !important}
.confidence-set .text, .confidence-set .confidence {font-size: var(--text-lg)}
.unsure .confidence-set {filter: grayscale(1)}
.drop .wrap {font-size: var(--text-md); line-height: 1.3; padding: 0}
.player [aria-label="Trim video to selection"], .player [aria-label="Reset video to initial value"] {display: none}

.film {width: 100%; max-width: 60rem; border-radius: var(--radius-md)}
.timeline .parts {position: relative; height: 3rem; border-radius: var(--radius-md); overflow: hidden;
    background: var(--border-color-primary)}
.timeline .parts button {position: absolute; top: 0; bottom: 0; overflow: hidden; white-space: nowrap; color: white;
    border-right: 1px solid var(--body-background-fill); padding: 0 .4rem; font-size: var(--text-sm); text-align: left}
.timeline .parts button:focus-visible {outline: 3px solid var(--body-text-color); outline-offset: -3px}
.timeline .marks {display: flex; justify-content: space-between; font-size: var(--text-sm);
    color: var(--body-text-color-subdued)}
.timeline .legend {display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; padding: 0}
.timeline .legend i {display: inline-block; width: .9em; height: .9em; margin-right: .4em; border-radius: .2em}

.steps {list-style: none; padding: 0; margin: 0; display: grid; gap: 1.5rem 2rem; counter-reset: step;
    grid-template-columns: repeat(3, minmax(0, 1fr))}
.steps > li {counter-increment: step; margin: 0; min-width: 0}
.steps > li:nth-child(1) {grid-column: 1 / -1}
.steps > li:nth-child(3) {grid-column: 2 / -1}
.steps h2 {margin: 0; font-size: var(--text-xl)}
.steps h2::before {content: counter(step) ". "; color: var(--body-text-color-subdued)}
.steps p {margin: .25rem 0 .6rem; max-width: 46rem; color: var(--body-text-color-subdued)}
.steps > li > img {width: 100%; max-width: 21rem; border-radius: var(--radius-md)}
.frames-of {display: grid; grid-template-columns: repeat(8, minmax(0, 1fr)); gap: var(--spacing-md)}
.steps > li:nth-child(3) .frames-of {grid-template-columns: repeat(4, minmax(0, 1fr))}
.frames-of figure {margin: 0; min-width: 0}
.frames-of img {width: 100%; border-radius: var(--radius-sm)}
.frames-of i {display: block; height: .5rem; margin-top: .2rem; border-radius: .25rem;
    background: var(--stat-background-fill)}
.frames-of figcaption {font-size: var(--text-sm); text-align: center}
.dots {display: flex; flex-wrap: wrap; gap: .3rem; max-width: 21rem}
.dots > * {width: .9rem; height: .9rem; border-radius: 50%; background: var(--stat-background-fill)}
.dots > b {background: none; border: 2px solid var(--body-text-color-subdued)}

.runs {width: 100%; border-collapse: collapse}
.runs th, .runs td {padding: .3rem .5rem .3rem 0; text-align: left; font-weight: 400}
.runs td:nth-child(2) {font-weight: 700}
.runs .share {position: relative; width: 40%}
.runs .share i {position: absolute; left: 0; top: .4rem; bottom: .4rem; border-radius: var(--radius-sm);
    background: var(--primary-300); opacity: .5}
.runs .share span {position: relative; padding-left: .4rem}

@media (max-width: 640px) {
    .tab-container button {padding: .4rem .5rem; font-size: var(--text-md)}
    .pictures:not(.rows):not(.examples) .grid-container {grid-template-columns: repeat(4, 1fr) !important}
    .steps {grid-template-columns: minmax(0, 1fr)}
    .steps > li:nth-child(n) {grid-column: 1}
    .frames-of {grid-template-columns: repeat(4, minmax(0, 1fr))}
    .player, .why {height: 230px !important}
    .drop, .examples {flex: 1 1 100% !important}
    .drop, .drop button {height: 48px !important; padding: 0}
    .drop .wrap {flex-direction: row; gap: .4rem; height: 100%; min-height: 0; justify-content: center}
    .drop :is(.icon-wrap, label) {display: none}
    .heading .prose > p {display: none}
}
"""


TRANSLATIONS = gr.I18n(
    en={
        "upload_text.drop_file": "Drop a video",
        "upload_text.click_to_upload": "click to choose one",
        "audio.record": "Start",
    }
)  # where Gradio's own say something else than what happens

HEAD = """
<style>
@media (max-width: 640px) {.gradio-container > .main {padding: 1rem .9rem !important}}
</style>
<script>
addEventListener("unhandledrejection", event => {
    const why = {
        NotAllowedError: "The browser does not let this page use the camera. Allow it in the address bar, then reload.",
        NotFoundError: "The browser finds no camera on this device. Try the tab Video instead.",
        NotReadableError: "Another program is using the camera. Close it, then reload.",
        TypeError: navigator.mediaDevices ? "" : "Cameras need a secure address (https). Try the tab Video instead.",
    }[event.reason?.name];
    if (why) document.querySelectorAll(".camera-note").forEach(note => note.textContent = why);
});
addEventListener("loadedmetadata", ({target: video}) => {
    if (video.duration !== Infinity || video.srcObject) return;
    const found = () => {
        if (!(video.duration < Infinity)) return;
        video.removeEventListener("durationchange", found);
        video.currentTime = 0;
    };
    video.addEventListener("durationchange", found);
    video.currentTime = Number.MAX_SAFE_INTEGER;
}, true);
</script>
"""
# Gradio says nothing when a camera is refused, and its own rules for phones reach within the page's parts alone.
# Chrome's recordings do not say how long they are; it finds out when it is to go to their end.
