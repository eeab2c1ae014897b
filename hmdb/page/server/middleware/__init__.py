"""The ASGI middleware around Gradio, one class a file; the package above lists their order."""
