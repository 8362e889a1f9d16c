"""Look at a report with Chromium: `python check_report.py PAGE.html`. Exit code 0 if all is well.

Speaks the DevTools protocol over pipes, so that nothing but Chromium and Python is needed.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60.0
"""Seconds for one answer; a busy machine takes ten to start Chromium."""


class Browser:
    """Chromium with one tab, by the pipes that it reads as descriptor 3 and writes as 4."""

    def __init__(self, program, profile):
        read, self._to = os.pipe()
        self._from, write = os.pipe()
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        shell = f'exec "$@" 3<&{read} 4>&{write}'
        self._process = subprocess.Popen(
            ["sh", "-c", shell, "sh", *command],
            pass_fds=(read, write),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._left, self._count, self._session = b"", 0, None
        self.events = []
        tabs = self.ask("Target.getTargets")["targetInfos"]
        tab = next(tab["targetId"] for tab in tabs if tab["type"] == "page")
        self._session = self.ask("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        """Send a command, wait for its result; events that come before it are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method):
        """Until an event has come."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._message())

    def evaluate(self, expression):
        """A value of JavaScript in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise SystemExit(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def press(self, key, code):
        """A key down and up, with the default action of the browser."""
        text = {"text": "\r"} if key == "Enter" else {}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def close(self):
        """End Chromium."""
        self._process.terminate()
        self._process.wait()

    def _message(self):
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._left:
            if not select.select([self._from], [], [], max(0, end - time.monotonic()))[0]:
                raise SystemExit(f"Chromium said nothing for {PATIENCE:.0f} seconds")
            more = os.read(self._from, 1 << 16)
            if not more:
                raise SystemExit("Chromium has ended")
            self._left += more
        first, _, self._left = self._left.partition(b"\0")
        return json.loads(first)


COLUMN = """(name) => {
  const table = document.querySelector("table[id$='-all']");
  const i = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.trim() === name);
  return [table, table.tHead.rows[0].cells[i],
          [...table.tBodies[0].rows].map((row) => Number(row.cells[i].dataset.key))];
}"""


OVERLAPS = """() => [...document.querySelectorAll("svg.chart")].flatMap((chart) => {
  const texts = [...chart.querySelectorAll("text")].map((text) => [text.textContent,
                                                                  text.getBoundingClientRect()]);
  const apart = (a, b) => a.right < b.left + 1 || b.right < a.left + 1 || a.bottom < b.top + 4 ||
                          b.bottom < a.top + 4;  // the boxes of lines hold room above and below
  return texts.flatMap(([one, a], i) => texts.slice(i + 1).flatMap(([other, b]) =>
    apart(a, b) ? [] : [[chart.querySelector("title").textContent, one, other]]));
})"""
"""Pairs of texts that lie on each other, each with the title of its chart."""

UNSORTED = """() => [...document.querySelectorAll("table.sortable")].flatMap((table) =>
  [...table.tHead.rows[0].cells].flatMap((header, i) => {
    header.querySelector("button").click();
    const shown = [...table.tBodies[0].rows].map((row) => row.cells[i]);
    const keys = shown.map((cell) => cell.dataset.key).filter((key) => key !== undefined);
    const right = keys.map(Number).every((key, j) => j === 0 || keys[j - 1] <= key);
    header.setAttribute("aria-sort", "none");
    return right ? [] : [table.id + ": " + header.textContent];
  }))"""
"""Columns that a click did not sort; leaves every table by its last column."""


def check(browser, page):
    """Each finding: what was looked at, and whether it is well."""
    browser.ask("Network.setBypassServiceWorker", bypass=True)
    browser.ask("Page.navigate", url=page.as_uri())
    browser.wait_for("Page.loadEventFired")

    charts = "document.querySelectorAll('svg.chart')"
    yield "there are charts", browser.evaluate(f"{charts}.length") > 0
    yield (
        "every chart has a title, a description and a size",
        browser.evaluate(
            f"""(() => {{
            document.querySelectorAll("details").forEach((part) => (part.open = true));
            return [...{charts}].every((chart) => chart.querySelector("title").textContent &&
                chart.querySelector("desc").textContent && chart.getBBox().width > 0);
            }})()"""
        ),
    )
    yield (
        "what is drawn stays within its chart",
        browser.evaluate(
            f"""[...{charts}].every((chart) => {{
            const box = chart.getBBox(), view = chart.viewBox.baseVal;
            return box.x >= -1 && box.y >= -1 && box.x + box.width <= view.width + 1 &&
                box.y + box.height <= view.height + 1;
            }})"""
        ),
    )

    over = browser.evaluate(f"({OVERLAPS})()")
    yield f"no text of a chart lies on another {over or ''}", over == []
    wrong = browser.evaluate(f"({UNSORTED})()")
    yield f"every table sorts by every column {wrong or ''}", wrong == []

    values = f"({COLUMN})('median')[2]"
    rows = browser.evaluate(values)
    yield "the table has rows", len(rows) > 1
    click = f"({COLUMN})('median')[1].querySelector('button').click()"
    state = f"({COLUMN})('median')[1].getAttribute('aria-sort')"
    browser.evaluate(click)
    rising = browser.evaluate(values), browser.evaluate(state)
    yield "a click sorts by the number", rising == (sorted(rows), "ascending")
    browser.evaluate(f"({COLUMN})('median')[1].querySelector('button').focus()")
    browser.press("Enter", 13)
    falling = browser.evaluate(values), browser.evaluate(state)
    yield "Enter sorts the other way", falling == (sorted(rows, reverse=True), "descending")
    browser.press("Tab", 9)
    yield (
        "Tab goes to the next column's button",
        browser.evaluate(f"document.activeElement === ({COLUMN})('Q1')[1].firstElementChild"),
    )
    yield (
        "the field shows only the rows asked for",
        browser.evaluate(
            f"""(() => {{
            const table = ({COLUMN})("median")[0];
            const input = document.querySelector(`input[data-table="${{table.id}}"]`);
            input.value = table.tBodies[0].rows[0].cells[0].textContent + " NO-SUCH-WORD";
            input.dispatchEvent(new Event("input"));
            const none = [...table.tBodies[0].rows].every((row) => row.hidden);
            input.value = "";
            input.dispatchEvent(new Event("input"));
            return none && [...table.tBodies[0].rows].every((row) => !row.hidden);
            }})()"""
        ),
    )

    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.ask("Emulation.setEmulatedMedia", features=features)
        colours = browser.evaluate(
            """(() => { const style = getComputedStyle(document.body);
            return [style.color, style.backgroundColor]; })()"""
        )
        ink, ground = (sum(map(int, colour[4:-1].split(","))) for colour in colours)
        yield f"{scheme} mode is {scheme}", (ground > ink) == (scheme == "light")
    for width in (360, 400, 768, 1200):
        browser.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=740,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        over = "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
        wide = browser.evaluate("window.innerWidth")
        yield f"nothing sticks out at {width} pixels", (browser.evaluate(over), wide) == (0, width)

    wrong = [event["params"] for event in browser.events if _complains(event)]
    yield f"the console is silent {wrong or ''}", not wrong
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    yield f"only the page itself was loaded: {asked}", asked == [page.as_uri()]


def _complains(event):
    return event.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled") or (
        event.get("method") == "Log.entryAdded"
        and event["params"]["entry"]["level"] in ("warning", "error")
    )


def main(arguments):
    """Check the page; 0 if all is well, 1 if not, 2 if it could not be looked at."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        print("check_report needs Chromium: apt-get install chromium", file=sys.stderr)
        return 2
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        print("usage: check_report.py PAGE.html", file=sys.stderr)
        return 2
    failed = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        try:
            for finding, well in check(browser, Path(arguments[0]).resolve()):
                print("ok    " if well else "FAILED", finding)
                failed += not well
        finally:
            browser.close()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
