"""Formulas, tables and pictures of the notebooks in a real browser, on request; nothing here runs with the tests.

    python tools/render.py                            all six; exit code 1 if anything is wrong
    python tools/render.py --only 04 --keep folder    one notebook, with screenshots of it from top to bottom

Every notebook is converted to HTML by nbconvert and opened in a headless Chromium, 900 pixels wide. The formulas are
typeset by the MathJax that JupyterLab carries with it, so that nothing is fetched: a JupyterLab is started on a free
port, and its typesetter is handed the page. The browser is driven through its debugging port with websocket-client,
which jupyter_server depends on. The network beyond this machine is cut off.

Looked for: marks of an error, TeX left over in the text, a formula that was not typeset, a formula, table or link
wider than its page, a picture that does not load, an error in the console. The badges, which are pictures from
elsewhere, are not loaded.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import itertools
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import nbformat  # noqa: E402
import websocket  # noqa: E402
from nbconvert import HTMLExporter  # noqa: E402

from tests.notebook_code import FILES  # noqa: E402
from tests.notebooks.test_prose import MATH, strip_code  # noqa: E402

WIDTH, SLICE = 900, 3000  # pixels: width of the page, height of a screenshot
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0",
         "--remote-allow-origins=*", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip

# JupyterLab offers its services by token; the typesetter's is found by name and resolved once.
TYPESETTER = """(async () => {
  const registry = window.jupyterapp.pluginRegistry ?? window.jupyterapp;
  const tokens = [...(registry._services ?? registry._serviceMap).keys()];
  const token = tokens.find(t => t.name === "@jupyterlab/rendermime:ILatexTypesetter");
  window.typesetter = await window.jupyterapp.resolveRequiredService(token);
  return true;
})()"""

# The page takes JupyterLab's place in the same document, because a typesetter writes into its own document only.
SWAP = """(async page => {
  const parsed = new DOMParser().parseFromString(page, "text/html");
  parsed.querySelectorAll("script").forEach(e => e.remove());
  for (const e of document.querySelectorAll("link[rel=stylesheet], style"))
    if (!/@font-face[^}]*MJX/.test(e.textContent)) e.remove();  // the fonts of MathJax are JupyterLab's to bring
  const base = document.createElement("base");
  base.href = location.origin + "/files/notebooks/";
  document.head.append(base, ...parsed.head.querySelectorAll("style"));
  document.body.replaceWith(parsed.body);
  document.querySelectorAll("details").forEach(e => e.open = true);
  await window.typesetter.typeset(document.body);
  await document.fonts.ready;
  return true;
})(%s)"""

LOOK = r"""(() => {
  const wrong = [], excerpt = e => e.textContent.trim().replace(/\s+/g, " ").slice(0, 60);
  const place = e => e.closest(".jp-Cell")?.id.replace("cell-id=", "") ?? "page";
  const say = (e, what) => wrong.push(`${place(e)}: ${what}`);
  for (const e of document.querySelectorAll("mjx-merror, .MathJax_Error, .katex-error"))
    say(e, "error mark: " + (e.getAttribute("data-mjx-error") ?? excerpt(e)));
  for (const e of document.querySelectorAll("mjx-container"))  // a command that MathJax does not know is set in red
    for (const red of e.querySelectorAll("math [mathcolor=red]")) say(e, "unknown command " + excerpt(red));
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (node.closest("pre, code, mjx-container, style, script")) continue;
    const left = walk.currentNode.data.match(/\$\$|\\(?:frac|begin|end|sqrt|text|mathrm|cdot|theta|sum)\b.*/);
    if (left) say(node, "not typeset: " + left[0].slice(0, 60));
  }
  const wide = (e, what) => {
    const page = e.closest(".jp-RenderedHTMLCommon, .jp-OutputArea-output") ?? document.body;
    const over = Math.round(e.getBoundingClientRect().right - page.getBoundingClientRect().right);
    const alike = [...(e.closest(".jp-Cell") ?? document).querySelectorAll(e.localName)];
    if (over > 1) say(e, `${what} ${alike.indexOf(e) + 1} is ${over} px too wide`);
  };
  document.querySelectorAll("mjx-container > mjx-math").forEach(e => wide(e, "formula"));
  document.querySelectorAll("table").forEach(e => wide(e, "table"));
  document.querySelectorAll(".jp-RenderedMarkdown a").forEach(e => wide(e, "link"));
  const fonts = [...document.fonts].filter(f => /^MJX/.test(f.family) && f.status === "loaded");
  if (document.querySelector("mjx-math") && !fonts.length)
    wrong.push("page: MathJax's fonts did not load, so that no width means anything");
  const images = [...document.images].filter(e => !/^https?:/.test(e.getAttribute("src")));
  for (const e of images) if (!e.complete || !e.naturalWidth) say(e, "picture does not load: " + e.alt.slice(0, 60));
  return {
    wrong, pictures: images.length, tables: document.querySelectorAll("table").length,
    formulas: document.querySelectorAll("mjx-container").length, height: document.documentElement.scrollHeight,
  };
})()"""


class Page:
    """One tab of the browser, through Chromium's debugging protocol."""

    def __init__(self, address: str):
        self.socket = websocket.create_connection(address, timeout=300)
        self.number, self.events = itertools.count(1), []

    def ask(self, method: str, **parameters) -> dict:
        """Send a command and wait for its answer; events that come in between are kept."""
        number = next(self.number)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            self.events.append(message)

    def run(self, script: str):
        """Value of a JavaScript expression (of what it promises, if it is a promise)."""
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while not self.run(script):
            if time.monotonic() > until:
                raise TimeoutError(f"not within {seconds:.0f} s: {script}")
            time.sleep(0.2)

    def complaints(self) -> list[str]:
        """Errors of the console since the last call, without those of JupyterLab's code and of the cut-off network."""
        self.run("1")  # whatever is under way arrives before this answer
        found = []
        for event in self.events:
            if event["method"] == "Runtime.exceptionThrown":
                details = event["params"]["exceptionDetails"]
                if "/static/lab/" not in details.get("url", "") + json.dumps(details.get("stackTrace", "")):
                    found.append(details.get("exception", {}).get("description", details["text"]))
            elif event["method"] == "Log.entryAdded":
                entry = event["params"]["entry"]
                if entry["level"] == "error" and "/files/" in entry.get("url", ""):
                    found.append(f"{entry['text']} ({entry['url']})")
        self.events.clear()
        return [f"console: {text.splitlines()[0]}" for text in found]


@contextlib.contextmanager
def running(command: list[str], **options) -> Iterator[subprocess.Popen]:
    """A process that ends with the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fetch(url: str, process: subprocess.Popen, seconds: float = 90, method: str = "GET") -> bytes:
    """What ``url`` answers, as soon as the process behind it is up."""
    until = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10).read()
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{Path(process.args[0]).name} does not answer at {url.split('?')[0]}") from None
            time.sleep(0.3)


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """Address of a JupyterLab that serves the course and writes into ``folder`` only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_SETTINGS_DIR",
             "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")  # fmt: skip
    places = {name: str(folder / name.lower()) for name in names}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
               f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={ROOT}", "--allow-root",
               "--expose-app-in-browser", "--LabApp.news_url=", "--ServerApp.port_retries=0"]  # fmt: skip
    with running(command, env={**os.environ, **places}, cwd=folder) as server:
        address = f"http://127.0.0.1:{port}/lab?token={token}"
        fetch(address, server)
        yield address


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[str]:
    """Address of the debugging port of a headless Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit(f"No browser found on PATH ({', '.join(BROWSERS)}). Install Chromium: apt install chromium on Debian "
                 "and Ubuntu, dnf install chromium on Fedora.")  # fmt: skip
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # Chromium refuses it otherwise
    with running([found, *FLAGS, *root, f"--user-data-dir={folder}", "about:blank"]) as process:
        port = folder / "DevToolsActivePort"
        until = time.monotonic() + 60
        while not (port.exists() and port.read_text(encoding="utf-8").strip()):
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{found} did not start. Try it by hand: {found} --headless --dump-dom about:blank")
            time.sleep(0.2)
        address = f"http://127.0.0.1:{port.read_text(encoding='utf-8').split()[0]}"
        fetch(f"{address}/json/version", process)
        yield address


def formulas(notebook: nbformat.NotebookNode) -> int:
    """Formulas in Markdown, in cells and in outputs."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    for cell in notebook.cells:
        texts += [o.data["text/markdown"] for o in cell.get("outputs", []) if "text/markdown" in o.get("data", {})]
    return sum(len(MATH.findall(strip_code(text))) for text in texts)


def check(tab: Page, lab: str, path: Path, keep: Path | None) -> list[str]:
    """Everything wrong with one notebook; prints one line about it."""
    notebook = nbformat.read(path, as_version=4)
    html, _ = HTMLExporter(template_name="lab", mathjax_url="", require_js_url="").from_notebook_node(notebook)
    tab.ask("Page.navigate", url=lab)
    tab.wait("!!window.jupyterapp && document.readyState === 'complete'")
    tab.run("window.jupyterapp.restored.then(() => true)")
    tab.run(TYPESETTER)
    tab.complaints()
    tab.run(SWAP % json.dumps(html))
    tab.wait("[...document.images].every(e => e.complete)")
    previous = -1  # fonts may arrive after the formulas: the page has settled when its height no longer changes
    while (height := tab.run("document.documentElement.scrollHeight")) != previous:
        previous = height
        time.sleep(0.5)
    seen = tab.run(LOOK)
    wrong = seen["wrong"] + tab.complaints()
    expected = formulas(notebook)
    if seen["formulas"] != expected:
        wrong.append(f"{expected} formulas in the source, {seen['formulas']} typeset")
    print(f"{path.stem}: {seen['formulas']} formulas, {seen['tables']} tables, {seen['pictures']} pictures, "
          f"{seen['height']} px, {len(wrong)} wrong", flush=True)  # fmt: skip
    for line in wrong:
        print(f"  {line}", flush=True)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        for number, top in enumerate(range(0, seen["height"], SLICE)):
            area = {"x": 0, "y": top, "width": WIDTH, "height": min(SLICE, seen["height"] - top), "scale": 1}
            shot = tab.ask("Page.captureScreenshot", format="png", clip=area, captureBeyondViewport=True)
            (keep / f"{path.stem[:2]}_{number:02}.png").write_bytes(base64.b64decode(shot["data"]))
    return wrong


def main() -> int:
    """Render the notebooks in a browser and list what is wrong."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", nargs="+", choices=FILES, default=list(FILES), help="two-digit numbers")
    parser.add_argument("--keep", type=Path, help="folder for screenshots")
    args = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        for part in ("server", "browser"):
            (folder / part).mkdir()
        devtools = stack.enter_context(browser(folder / "browser"))
        lab = stack.enter_context(jupyterlab(folder / "server"))
        tabs = json.loads(urllib.request.urlopen(f"{devtools}/json/list", timeout=10).read())
        tab = Page(next(t["webSocketDebuggerUrl"] for t in tabs if t["type"] == "page"))
        for domain in ("Page", "Runtime", "Log"):
            tab.ask(f"{domain}.enable")
        tab.ask("Emulation.setDeviceMetricsOverride", width=WIDTH, height=1200, deviceScaleFactor=1, mobile=False)
        for number in args.only:
            wrong += check(tab, lab, FILES[number], args.keep)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
