"""The page on Gradio: the only place that imports gradio or spaces. Nothing else in hmdb imports it."""
