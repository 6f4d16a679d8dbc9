"""A headless Chromium driven over its DevTools socket: open a page, run script in it, press keys, take pictures."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)
PATIENCE_S = 60


def find_chromium() -> str | None:
    """Returns the path of an installed Chromium, None when there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One Chromium with one page. Use it as a context; `events` holds what the page reported (requests, log entries, exceptions)."""

    def __init__(self, program: str, profile: Path) -> None:
        self._profile = profile
        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._loop = asyncio.new_event_loop()
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        try:
            self._loop.run_until_complete(self._connect())
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.call("Browser.close")
        self._loop.run_until_complete(self._session.close())
        self._stop()

    def _stop(self) -> None:
        self._loop.close()
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()

    async def _connect(self) -> None:
        import aiohttp

        told = self._profile / "DevToolsActivePort"
        wait_for(lambda: told.is_file() and len(told.read_text().splitlines()) == 2)
        address = f"http://127.0.0.1:{told.read_text().splitlines()[0]}/json/list"
        self._session = aiohttp.ClientSession()
        async with self._session.get(address) as response:
            pages = [target for target in await response.json() if target["type"] == "page"]
        self._socket = await self._session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends one DevTools command and returns its result; what the page reports meanwhile goes to `events`."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, params), PATIENCE_S))

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            told = json.loads((await self._socket.receive()).data)
            if told.get("id") != self._number:
                self.events.append(told)
                continue
            if "error" in told:
                raise RuntimeError(f"{method}: {told['error']}")
            return dict(told["result"])

    def evaluate(self, expression: str) -> Any:
        """Returns the value of a script expression; raises RuntimeError when it throws."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise RuntimeError(f"{expression}: {told['exceptionDetails']}")
        return told["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until the expression is true."""
        wait_for(lambda: bool(self.evaluate(expression)), expression)

    def open(self, address: str) -> None:
        """Opens an address and waits until the page is there."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(address)}")

    def press(self, key: str, code: int) -> None:
        """Presses a key, as `Tab` (9) or `Enter` (13)."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def look(self, width: int, dark: bool = False) -> None:
        """Sets the width of the window and the colour scheme that the user prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, top: int = 0, height: int = 1400) -> None:
        """Saves a picture of a part of the page."""
        width = self.evaluate("document.documentElement.clientWidth")
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        told = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))

    def requests(self) -> list[str]:
        """Returns the addresses that the page has asked for since it was opened."""
        sent = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [str(e["params"]["request"]["url"]) for e in sent]

    def complaints(self) -> list[str]:
        """Returns exceptions and log entries: a breach of the page's policy is one."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(e["params"]) for e in self.events if e.get("method") in kinds]


def wait_for(ready: Callable[[], bool], what: str = "Chromium") -> None:
    """Waits until `ready`. Raises TimeoutError after a minute."""
    end = time.monotonic() + PATIENCE_S
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE_S} s for {what}")
        time.sleep(0.05)
