// Body of a function of gr.HTML: a click on a segment of the timeline becomes an event with its start in seconds.
element.addEventListener("click", event => {
    const segment = event.target.closest("[data-start]");
    if (segment) trigger("click", {start: Number(segment.dataset.start)});
});
