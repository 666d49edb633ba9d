"""A headless Chromium to look at pages with: what a reader sees, and what the page tried to do.

Speaks the DevTools protocol through a pair of pipes (``--remote-debugging-pipe``): no port is opened and no
library is needed. For the tests and the screenshots; nothing of the product imports it.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
    "--hide-scrollbars", "--remote-debugging-pipe", "about:blank",
)  # fmt: skip
PATIENCE = 60.0  # seconds for one answer
# Console messages and refused loads of a page; requests tell what it reached for.
_DOMAINS = ("Page", "Runtime", "Log", "Network", "Accessibility")


def found() -> str | None:
    """The browser on the PATH, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Browser:
    """One tab. ``events`` are those of the page opened last: (method, parameters)."""

    _read: int
    _write: int
    _session: str | None = None
    _number: int = 0
    _buffer: bytes = b""
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol; raises RuntimeError with Chromium's words where it is refused."""
        number = self._send(method, params)
        while (answer := self._next()).get("id") != number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    def open(self, page: Path | str, *, width: int = 1100, height: int = 800, dark: bool = False) -> None:
        """Show a page and wait until it is loaded."""
        self.look(width, height, dark=dark)
        self.call(
            "Page.navigate", url="about:blank"
        )  # the same page at another heading would not be loaded again
        self.events.clear()
        address = page.absolute().as_uri() if isinstance(page, Path) else page
        loader = self.call("Page.navigate", url=address)["loaderId"]
        # By its loader: the blank page's own load event may still be on its way.
        self._until(
            lambda name, params: (
                name == "Page.lifecycleEvent" and params["name"] == "load" and params["loaderId"] == loader
            )
        )

    def look(self, width: int, height: int, *, dark: bool = False, medium: str = "") -> None:
        """Change the size of the window, the colour scheme and the medium (``print``)."""
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, mobile=phone,
            deviceScaleFactor=2 if phone else 1,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=medium, features=[scheme])

    def wait_for(self, method: str) -> None:
        """Until the page has sent such an event."""
        self._until(lambda name, _: name == method)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression, as plain data."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """Console messages, uncaught errors, and whatever Chromium logged of the page opened last."""
        said = {
            "Runtime.consoleAPICalled": lambda p: str(p["args"]),
            "Runtime.exceptionThrown": lambda p: str(p["exceptionDetails"]),
            "Log.entryAdded": lambda p: p["entry"]["text"],
            "Page.javascriptDialogOpening": lambda p: p["message"],
        }
        self.evaluate("document.readyState")  # a round trip: what was on its way has come
        return [said[name](params) for name, params in self.events if name in said]

    def requests(self) -> list[str]:
        """Addresses that the page opened last asked for, its own among them."""
        sent = [p for name, p in self.events if name == "Network.requestWillBeSent"]
        return [p["request"]["url"] for p in sent]

    def screenshot(self, target: Path) -> None:
        """The window as PNG."""
        target.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _until(self, wanted: Callable[[str, dict[str, Any]], bool]) -> None:
        while not any(wanted(name, params) for name, params in self.events):
            self._note(self._next())

    def _note(self, message: dict[str, Any]) -> None:
        if "method" in message:
            self.events.append((message["method"], message["params"]))
        if message.get("method") == "Page.javascriptDialogOpening":  # nothing goes on until it is closed
            self._send("Page.handleJavaScriptDialog", {"accept": True})

    def _send(self, method: str, params: dict[str, Any]) -> int:
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": params, **session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._number

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            piece = os.read(self._read, 1 << 20) if ready else b""
            if not piece:
                raise RuntimeError("Chromium has ended or does not answer.")
            self._buffer += piece
        message, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(message))


@contextmanager
def browser(path: str) -> Iterator[Browser]:
    """Chromium with one tab; it ends with the block, and leaves nothing behind."""
    to_child, write = map(_high, os.pipe())
    read, from_child = map(_high, os.pipe())
    # Chromium reads file descriptor 3 and writes 4.
    plumbing = f'exec "$0" "$@" 3<&{to_child} 4>&{from_child} {to_child}<&- {from_child}>&-'
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        child = subprocess.Popen(
            ["/bin/bash", "-c", plumbing, path, f"--user-data-dir={profile}", *QUIET],
            pass_fds=(to_child, from_child), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_child)
        os.close(from_child)
        try:
            yield _first_tab(Browser(read, write))
        finally:
            os.close(write)
            os.close(read)
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _high(descriptor: int) -> int:
    """The same file under a number that is out of the way."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


def _first_tab(chromium: Browser) -> Browser:
    target = chromium.call("Target.createTarget", url="about:blank")["targetId"]
    attached = chromium.call("Target.attachToTarget", targetId=target, flatten=True)
    chromium._session = attached["sessionId"]
    for domain in _DOMAINS:
        chromium.call(f"{domain}.enable")
    chromium.call("Page.setLifecycleEventsEnabled", enabled=True)
    return chromium
