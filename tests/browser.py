"""A headless Chromium, driven by its DevTools protocol."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections import deque

import pytest

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PATIENCE = 20  # s, on a busy machine
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
KEYS = {
    **{"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "Escape": (27, "")},
    **{"ArrowLeft": (37, ""), "ArrowUp": (38, ""), "Home": (36, ""), "End": (35, "")},
    **{"ArrowRight": (39, ""), "ArrowDown": (40, "")},
}


class Page:
    """A browser's page."""

    def __init__(self, socket):
        self.socket, self.number, self.events = socket, 0, deque(maxlen=100)

    def call(self, method: str, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv(timeout=PATIENCE))
            if "method" in answer:
                self.events.append(answer)
            elif answer["id"] == self.number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def run(self, script: str):
        """What JavaScript comes to; what it promises, once that is kept."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, (script, found)
        return found["result"].get("value")

    def open(self, url: str | None = None):
        """Another page, or the same anew; its script has run when it is complete."""
        self.run("window.old = true")
        self.call("Page.navigate", url=url) if url else self.call("Page.reload")
        until(lambda: self.run("!window.old && document.readyState === 'complete'"))

    def resize(self, width: int):
        size = {"width": width, "height": 844, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", mobile=width < 500, **size)

    def click(self, selector: str):
        """With the mouse, where it is: what is hidden or covered can't be clicked."""
        x, y, there = self.run(
            f"""(() => {{
                const node = document.querySelector({json.dumps(selector)});
                node.scrollIntoView({{ block: "center" }});
                const box = node.getBoundingClientRect();
                const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                return [x, y, node.contains(document.elementFromPoint(x, y))];
            }})()"""
        )
        assert there, f"{selector} is hidden or covered"
        mouse = {"x": x, "y": y, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **mouse)

    def press(self, *keys: str):
        """Keys, one after the other."""
        for key in keys:
            code, text = KEYS[key]
            names = {"key": key, "code": "Space" if key == " " else key}
            down = {"type": "keyDown" if text else "rawKeyDown", "text": text}
            for what in (down, {"type": "keyUp"}):
                self.call(
                    "Input.dispatchKeyEvent",
                    windowsVirtualKeyCode=code,
                    **names,
                    **what,
                )

    def type(self, text: str):
        self.call("Input.insertText", text=text)

    def controls(self) -> list[dict]:
        """What a screen reader knows of all that can have the focus: role, name,
        focused, value."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        found = []
        for node in nodes:
            properties = {
                p["name"]: p["value"].get("value") for p in node.get("properties", [])
            }
            if node.get("ignored") or not properties.get("focusable"):
                continue
            values = {key: node.get(key, {}).get("value") for key in ("role", "name")}
            found.append(values | {"value": node.get("value", {}).get("value")})
            found[-1] |= {"focused": bool(properties.get("focused"))}
            found[-1] |= {"checked": properties.get("checked") == "true"}
        return found

    def focused(self) -> dict:
        """The control that has the focus; beyond the last there is none."""
        nothing = {"role": "", "name": "", "value": None, "checked": False}
        return [nothing, *(c for c in self.controls() if c["focused"])][-1]

    def tab_to(self, role: str, name: str, most: int = 60) -> None:
        """Tab, until a control has the focus."""
        seen = []
        for _ in range(most):
            self.press("Tab")
            control = self.focused()
            if control["role"] == role and name in control["name"]:
                return
            seen.append((control["role"], control["name"]))
        raise AssertionError(f"no {role} {name!r} by Tab, but {seen}")

    def choose(self, path) -> None:
        """Gives a file to the chooser that has just been opened
        (Page.setInterceptFileChooserDialog)."""

        def opened():
            self.run("0")
            return [e for e in self.events if e["method"] == "Page.fileChooserOpened"]

        node = until(opened)[-1]["params"]["backendNodeId"]
        self.events.clear()
        self.call("DOM.setFileInputFiles", files=[str(path)], backendNodeId=node)

    def picture(self, whole: bool = False) -> bytes:
        """A PNG of what is to be seen."""
        told = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(told["data"])


def until(holds, patience: float = PATIENCE):
    end = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def browsing(profile, *flags: str):
    """A page of a browser of its own; skips where there is none."""
    client = pytest.importorskip("websockets.sync.client")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)}")
    place = (f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(
        [browser, *FLAGS, *flags, *place], start_new_session=True, **quiet
    )
    try:
        told = profile / "DevToolsActivePort"
        until(lambda: told.is_file() and told.read_text().count("\n"))
        port = told.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            target = next(t for t in json.load(answer) if t["type"] == "page")
        address = target["webSocketDebuggerUrl"]
        with client.connect(address, proxy=None, max_size=None) as socket:
            yield Page(socket)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its processes with it
        process.wait()
