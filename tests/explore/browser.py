"""A real browser for the tests: headless Chromium, spoken to over its DevTools protocol.

``websocket-client`` comes with the Jupyter server, so nothing more is installed than the browser itself.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
KEYS = {
    "ArrowRight": 39,
    "ArrowUp": 38,
    "ArrowLeft": 37,
    "ArrowDown": 40,
    "Home": 36,
    "End": 35,
    "Enter": 13,
    "Tab": 9,
    "Escape": 27,
}

# What the tests ask a page with explorables for. `one` is the first of them.
TOOLS = """
window.all = () => [...document.querySelectorAll('.explore')];
window.one = () => all()[0];
window.drawing = (i = 0) =>
  [...all()[i].children].map((part) => (part.matches('.dials') ? '' : part.outerHTML)).join('');
window.dial = (key) => [...one().querySelectorAll(`[data-key="${key}"]`)];
window.settled = () => new Promise((done) => setTimeout(done, 30));
window.seen = (node) => node.getBoundingClientRect().width > 0;
window.handles = () => [...one().querySelectorAll('.handle')].filter(seen);
window.middle = (node) => {
  const box = (node.querySelector('circle, rect') ?? node).getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
};
window.tell = (node, event) => node.dispatchEvent(new Event(event, { bubbles: true }));
window.slide = async (key) => {
  const [input, before] = [dial(key)[0], drawing()];
  const start = input.value;
  for (const share of [0.37, 0.81, 0, 1]) {
    input.value = Number(input.min) + share * (input.max - input.min);
    tell(input, 'input');
    await settled();
    if (drawing() !== before && input.value !== start) return true;
  }
  return false;
};
window.choose = async (key) => {
  const [inputs, found] = [dial(key), new Set()];
  const list = inputs[0].tagName === 'SELECT';
  for (const option of list ? inputs[0].options : inputs) {
    if (list) {
      inputs[0].value = option.value;
      tell(inputs[0], 'change');
    } else option.click();
    await settled();
    found.add(drawing());
  }
  return found.size > 1;
};
window.clipped = () => [...document.querySelectorAll('.explore svg')].filter(seen).flatMap((svg) => {
  const box = svg.getBoundingClientRect();
  const out = (text) => {
    const b = text.getBoundingClientRect();
    return Math.max(box.left - b.left, b.right - box.right, box.top - b.top, b.bottom - box.bottom) > 1.5;
  };
  return [...svg.querySelectorAll('text')].filter(seen).filter(out).map((text) => text.textContent);
});
window.fastest = async (key) => {
  const [input, times] = [dial(key)[0], []];
  for (let i = 1; i < 13; i++) {
    input.value = Number(input.min) + (i / 13) * (input.max - input.min);
    const start = performance.now();
    tell(input, 'input');
    await Promise.resolve();
    times.push(performance.now() - start);
    await settled();
  }
  return Math.min(...times);
};
window.attributes = (node, ...names) => names.map((name) => node.getAttribute(name));
"""


def found() -> str | None:
    """Path of a Chromium; the environment variable CHROMIUM comes first."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab. ``problems`` collects uncaught errors and what the console says as an error."""

    def __init__(self, program: str, width: int = 800, height: int = 900):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"]
        where = [f"--user-data-dir={self.folder.name}", "--remote-debugging-port=0", "--remote-allow-origins=*"]
        self.process = subprocess.Popen(
            [program, *flags, *quiet, *where, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        port = self._port()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            tab = next(entry for entry in json.load(answer) if entry["type"] == "page")
        self.socket = websocket.create_connection(tab["webSocketDebuggerUrl"], timeout=60, max_size=None)
        self.number, self.problems, self.requests = 0, [], []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.resize(width, height)

    def _port(self) -> int:
        told = Path(self.folder.name) / "DevToolsActivePort"
        for _ in range(300):
            if told.exists() and told.read_text().strip():
                return int(told.read_text().split()[0])
            time.sleep(0.1)
        raise TimeoutError("Chromium did not open its DevTools port")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer; events on the way are read."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._event(message)

    def _event(self, message: dict[str, Any]) -> None:
        what, about = message["method"], message["params"]
        if what == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif what == "Runtime.consoleAPICalled" and about["type"] in ("error", "assert"):
            self.problems.append(" ".join(str(a.get("value", a.get("description", ""))) for a in about["args"]))
        elif what == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.problems.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
        elif what == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])

    def js(self, code: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        answer = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", code))
        return answer["result"].get("value")

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def until(self, condition: str, seconds: float = 30) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"not true after {seconds} s: {condition}; {self.problems}")
            time.sleep(0.1)

    def resize(self, width: int, height: int = 900, scale: float = 1) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def mouse(self, kind: str, x: float, y: float) -> None:
        self.send(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button="left",
            clickCount=1,
            buttons=int(kind != "mouseReleased"),
        )

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 8) -> None:
        """Press, move in some steps, let go."""
        self.mouse("mousePressed", *start)
        for i in range(1, steps + 1):
            self.mouse("mouseMoved", *(a + (b - a) * i / steps for a, b in zip(start, end, strict=True)))
        self.mouse("mouseReleased", *end)

    def click(self, x: float, y: float) -> None:
        self.drag((x, y), (x, y), steps=1)

    def key(self, name: str, modifiers: int = 0) -> None:
        """Press and release a key: "ArrowRight", or a character. modifiers: 1 Alt, 2 Control, 8 Shift."""
        code = {"windowsVirtualKeyCode": KEYS[name]} if name in KEYS else {"text": name}
        code |= {"text": "\r"} if name == "Enter" and not modifiers else {}  # or it presses no button
        for kind in ("keyDown", "keyUp"):
            more = code if kind == "keyDown" else {k: v for k, v in code.items() if k != "text"}
            self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, modifiers=modifiers, **more)

    def picture(self, path: str | Path) -> None:
        """Write a PNG of the whole page."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def outside(self) -> list[str]:
        """Addresses that were asked for and are not this machine."""
        own = r"(https?|wss?)://(127\.0\.0\.1|localhost)[:/].*|(data|blob|about|chrome):.*"
        return [address for address in self.requests if not re.fullmatch(own, address, re.S)]

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)
        self.folder.cleanup()


@contextlib.contextmanager
def jupyterlab(command: list[str], folder: Path, private: Path) -> Iterator[str]:
    """The address of a JupyterLab (token "t") that ``command`` starts in ``folder``; its own files go to ``private``.

    Raises:
        TimeoutError: with the last lines of its log, if no server answers within two minutes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"ip": "127.0.0.1", "port": port, "open_browser": False, "allow_root": True, "root_dir": str(folder)}
    options = [f"--ServerApp.{key}={value}" for key, value in settings.items()]
    options += ["--IdentityProvider.token=t", "--LabApp.expose_app_in_browser=True"]
    home = {f"JUPYTER_{what}_DIR": str(private / what) for what in ("CONFIG", "DATA", "RUNTIME")}
    quiet = {name: value for name, value in os.environ.items() if name not in ("COURSE_STATIC", "MPLBACKEND")}
    with open(private / "log", "w") as log:
        server = subprocess.Popen([*command, *options], cwd=folder, env={**quiet, **home}, stdout=log, stderr=log)
    try:
        for _ in range(240):
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        else:
            raise TimeoutError(f"JupyterLab does not answer: {(private / 'log').read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def open_notebook(page: Page, address: str) -> None:
    """Open a notebook in JupyterLab and wait for its kernel; ``book()`` is its panel from then on."""
    page.open(address)
    page.js("window.books = () => [...(window.jupyterapp?.shell?.widgets('main') ?? [])]")
    file = address.partition("?")[0].rpartition("/")[2]
    page.js(f"window.book = () => books().find((one) => one.sessionContext && one.context.path.endsWith('{file}'))")
    page.until("book()?.content.widgets.length > 0", 120)
    page.until("book().sessionContext.session?.kernel?.status === 'idle'", 90)
    page.js("window.jupyterapp.shell.activateById(book().id)")
    page.problems.clear()  # what the server has no answer to while it starts
