"""The HTTP server of the page and of agents."""

import contextlib
import os
import socket
import sys
import tempfile
import threading
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from emogene_jax.app import agents
from emogene_jax.app.people import People
from emogene_jax.app.render import LARGEST_BYTES
from emogene_jax.signals import UserError

LARGEST_MESSAGE = 1 << 20  # bytes, of a WebSocket
LOCAL = ("127.0.0.1", "localhost", "::1")
# Browsers ask nobody but this server. Gradio's own scripts are inline, and make blobs.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "connect-src 'self' ws: wss: data: blob:; frame-ancestors 'self'"
)


class _ClosedOff:
    """ASGI middleware: a browser asks no other machine for what is here, and no other
    site's pages ask here for anything."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "lifespan" and _foreign(Headers(scope=scope)):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                told = JSONResponse({"error": "asked by a page of another site"}, 403)
                await told(scope, receive, send)
            return

        async def answer(message):
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        await self.app(scope, receive, answer if scope["type"] == "http" else send)


def _foreign(headers: Headers) -> bool:
    """Whether a page of another site asks."""
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def application(people: People, page: bool):
    """The ASGI application: what agents ask for, and the page at /."""
    app = Starlette(routes=agents.routes(people))
    if page:
        import gradio as gr

        from emogene_jax.app import rtc
        from emogene_jax.app.page import FOCUS, NAMES, build

        app.routes.extend(rtc.routes(people))

        gr.mount_gradio_app(
            app,
            build(people),
            path="/",
            max_file_size=LARGEST_BYTES,
            theme=gr.themes.Base(
                font=["system-ui", "sans-serif"],
                font_mono=["ui-monospace", "monospace"],
            ),
            css=FOCUS,
            js=NAMES,
            footer_links=[],
        )
    return _ClosedOff(app)


def served(app) -> uvicorn.Config:
    """How an application is served."""
    return uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=2,
        ws_max_size=LARGEST_MESSAGE,
        # No pings: an answer waits behind the sound that was sent before it, which is
        # read as it is said. Who has left is found by what can't be sent to them.
        ws_ping_interval=None,
    )


def run(place, host: str, port: int, page: bool) -> None:
    """Serves the avatars of a folder, or one, until it is interrupted.

    Raises:
        UserError: no avatar there, or the port is taken, or there is no such host.
    """
    people = People(place)
    if not page and not people.names():
        raise UserError(f"{place}: no avatar in it")
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise UserError(f"{host}:{port}: {error.strerror or error}") from None
    with tempfile.TemporaryDirectory(prefix="emogene-") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        app = application(people, page)
        print(f"http://{host}:{listening.getsockname()[1]}: ready", file=sys.stderr)
        if host not in LOCAL:
            print(
                f"warning: {host} can be reached by others, who then make videos here",
                file=sys.stderr,
            )
        threading.Thread(target=_warm, args=(people,), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(served(app)).run(sockets=[listening])


def _warm(people: People) -> None:
    """Opens the first avatar, so that who comes first waits less."""
    with contextlib.suppress(UserError):  # told to who asks for it
        for name in people.names()[:1]:
            people.person(name)
