// Body of a function of gr.HTML: Gradio's own Stop leaves the camera on; hiding its component lets go of it.
element.closest(".column").addEventListener("click", event => {
    const button = event.target.closest(".camera button");
    if (button?.querySelector("[title='stop recording']")) trigger("stop");
}, true);
