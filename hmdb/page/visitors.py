"""Who asks."""

from __future__ import annotations

from gradio.context import LocalContext


def session() -> str:
    """The session of the visitor who is being answered; "" outside of an answer."""
    request = LocalContext.request.get(None)
    return (request.session_hash if request else None) or ""


def visitor() -> str:
    """The address of the visitor who is being answered; "" outside of an answer."""
    request = LocalContext.request.get(None)
    client = request.client if request else None
    return (client.host if client else None) or ""
