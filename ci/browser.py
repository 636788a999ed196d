#!/usr/bin/env python3
"""The main paths through the daemon's pages, in a real browser.

usage: ci/browser.py [--binary FILE] [--chromium FILE] [--shots DIR] [--only WORD]

Makes a state directory of its own (imported runs, a console, a measurement, a queue), starts the daemon
on it and looks at every page at 1280 and 375 pixels, dark and light, with and without JavaScript, and
by the keyboard alone. Needs Python's playwright and a Chromium; says so where one is missing.

exit status: 0 all is well, 1 something is not (told before), 2 something is missing.
"""

import argparse
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

EVIL = "<script>window.evil=1</script><img src=x onerror=window.evil=2>\x1b[31m\u202e"
PORTS = ["amd64", "i386", "s390x", "sparc64"]
SIZES = [(1280, 900), (375, 800)]

failures = []
checks = 0


def check(truth, what):
    """Notes what does not hold, and goes on."""
    global checks
    checks += 1
    if not truth:
        failures.append(what)
        print(f"browser: not so: {what}", file=sys.stderr)


def missing(what):
    print(f"browser: {what} is missing; ci/setup --with-tests installs it", file=sys.stderr)
    sys.exit(2)


def stream(port, bad):
    """A TPS stream of one port; the cases in `bad` fail there."""
    lines = ['Content-Type: application/X-atf-tps; version="3"', "", "tps-count: 6"]
    now = 1_790_000_000.0
    for p in range(6):
        program = f"{['codec', 'mem', 'proc'][p % 3]}/t_part{p}"
        lines.append(f"tp-start: {now:.6f}, {program}, 8")
        for c in range(8):
            case = f"case_{c}"
            lines.append(f"tc-start: {now:.6f}, {case}")
            now += 0.5
            lines.append(f"tc-so:begin {program}")
            end = "passed"
            if (program, case) in bad:
                end = f"failed, {program}.c:{40 + c}: expected 0x01, got 0x04 {EVIL}"
            elif c == 7:
                end = f"skipped, no disk on {port}"
            lines.append(f"tc-end: {now:.6f}, {case}, {end}")
        lines.append(f"tp-end: {now:.6f}, {program}")
    return "\n".join(lines) + "\n"


class Place:
    """A daemon of one's own and what it keeps."""

    def __init__(self, binary):
        self.binary = str(pathlib.Path(binary).resolve())
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="fallout-browser-"))
        self.images = pathlib.Path(__file__).resolve().parent.parent / "images"
        self.daemon = None
        run = self.root / "run"
        run.mkdir(mode=0o700)
        self.env = dict(
            os.environ,
            XDG_STATE_HOME=str(self.root / "state"),
            XDG_CACHE_HOME=str(self.root / "cache"),
            XDG_RUNTIME_DIR=str(run),
            FALLOUT_IMAGES=str(self.images),
        )
        self.state = self.root / "state/fallout"

    def fallout(self, *words, ok=(0,)):
        done = subprocess.run([self.binary, *words], env=self.env, cwd=self.root, capture_output=True, text=True)
        if done.returncode not in ok:
            raise SystemExit(f"browser: fallout {' '.join(words)}: {done.returncode}: {done.stderr}")
        return done.stdout

    def git(self, *words):
        own = ["git", "-c", "user.name=n", "-c", "user.email=e@x"]
        subprocess.run([*own, *words], cwd=self.root, check=True, capture_output=True)

    def fill(self):
        """Two runs that differ, a console with times, a measurement, a repository."""
        for n, bad in enumerate(
            [
                {"s390x": {("codec/t_part0", "case_1"), ("mem/t_part1", "case_2")}},
                {"s390x": {("codec/t_part0", "case_1")}, "sparc64": {("proc/t_part2", "case_3")}},
            ]
        ):
            files = []
            for port in PORTS:
                name = f"{port}-{n}.tps"
                (self.root / name).write_text(stream(port, bad.get(port, set())))
                files.append(f"{port}={name}")
                files.append(f"{port}={name}")
            words = ["--suite", "portable", "--host", f"rack {n}", "--revision", f"{n + 1}" * 40, "--matrix", "lab"]
            self.fallout("import", *words, *files, ok=(0, 1))
        self.runs = sorted(p.name for p in (self.state / "runs").iterdir())
        self.cell = "portable+s390x+stock+candidate"
        cell = self.state / "runs" / self.runs[1] / "cells" / self.cell
        text = "".join(f"[{i / 10:10.4f}] line {i} of the kernel {EVIL if i == 3 else ''}\r\n" for i in range(2500))
        data = text.encode()
        (cell / "guest-1.console").write_bytes(data)
        (cell / "guest-1.times").write_text("".join(f"{ms} {len(data) * ms // 60000}\n" for ms in range(500, 60001, 500)))
        pairs = [[2.0e8 + 1e5 * i, 2.08e8 + 9e4 * i * (1 if i % 2 else -1)] for i in range(20)]
        numbers = dict(answer="slower", pairs=20, percent=4.0, low=2.1, high=5.7, hides=5.7, more_pairs=None)
        even = dict(numbers, answer="no_difference", percent=0.3, low=-0.9, high=1.4)
        on = [
            dict(port=p, measured="time", sentence=f"B is slower than A on {p}: by {x['percent']}%", comparison=x,
                 pairs_ns=pairs, blind_to="caches are not emulated")
            for p, x in [("amd64", numbers), ("sparc64", even)]
        ]
        self.bench = "0199aaaa-0000-7000-8000-00000000000a"
        (self.state / "bench").mkdir()
        (self.state / "bench" / f"{self.bench}.json").write_text(json.dumps(dict(
            format=1, id=self.bench, at="2026-11-01T10:00:00Z", matrix="bench.yaml", suite="spawn",
            a=dict(command=f"spawn fork {EVIL}", side="candidate"),
            b=dict(command="spawn posix_spawn", side="candidate"), ports=on)))
        (self.root / "policy.yaml").write_text(
            "format: 1\nname: release\nports: [amd64, s390x, hppa]\nsuites: [portable]\n"
            "nightlies: {matrix: nightly, count: 3}\nwaivers:\n"
            "  - {line: findings.arch_only, by: releng, reason: 'known since the branch', until: 2026-01-31}\n")
        self.fallout("key", "new")
        self.fallout("signoff", "2" * 40, "--policy", "policy.yaml", ok=(1,))
        self.signoff = next((self.state / "signoffs").iterdir()).name
        self.git("init", "-q", "--bare", "-b", "main", "r.git")
        self.git("init", "-q", "-b", "main", "tree")
        self.git("-C", "tree", "commit", "-q", "--allow-empty", "-m", "one")
        self.git("-C", "tree", "push", "-q", "../r.git", "main")
        (self.root / "daemon.yaml").write_text(
            "format: 1\nlisten: 127.0.0.1:0\nrequests_per_second: 2000\nrepositories:\n  - name: r\n    path: r.git\n"
            "    rules: [{name: all, refs: ['refs/heads/*'], policy: each, run: {matrix: absent.yaml}}]\n")
        self.token = self.fallout("token", "add", "browser", "--scope", "submit").strip().splitlines()[-1]

    def start(self):
        log = open(self.root / "daemon.log", "w", encoding="utf-8")
        self.daemon = subprocess.Popen(
            [self.binary, "daemon", "--config", "daemon.yaml"], env=self.env, cwd=self.root, stderr=log)
        address = self.root / "run/fallout/daemon.address"
        for _ in range(600):
            if address.exists():
                self.url = address.read_text(encoding="utf-8").strip()
                try:
                    if self.ask("GET", "/readyz")[0] == 200:
                        return
                except OSError:
                    pass
            if self.daemon.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"browser: the daemon is not ready: {(self.root / 'daemon.log').read_text()}")

    def ask(self, method, path, body=None):
        where = urllib.parse.urlsplit(self.url).netloc
        connection = http.client.HTTPConnection(where, timeout=30)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {getattr(self, 'token', '')}"}
        connection.request(method, path, body=body and json.dumps(body), headers=headers if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def order(self):
        status, text = self.ask("POST", "/api/v1/queue", dict(repository="r", reference="refs/heads/main", rule="all"))
        check(status == 202, f"an order is taken: {status} {text}")

    def end(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.terminate()
            try:
                self.daemon.wait(30)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        shutil.rmtree(self.root, ignore_errors=True)


def pages(place):
    """Every kind of page by a name."""
    old, new = place.runs
    return {
        "now": "/",
        "runs": "/runs",
        "run": f"/runs/{new}",
        "report": f"/runs/{new}/report",
        "diff-choose": f"/diff?to={new}",
        "diff": f"/diff?from={old}&to={new}",
        "cases": "/cases",
        "case": "/case?case=codec%2Ft_part0%3Acase_1",
        "panics": "/panics",
        "flakes": "/flakes",
        "ports": "/ports",
        "port": "/ports/s390x",
        "revisions": "/revisions",
        "revision": f"/revisions/{'2' * 40}",
        "queue": "/queue",
        "bench": "/bench",
        "measurement": f"/bench/{place.bench}",
        "console": f"/runs/{new}/cells/{place.cell.replace('+', '%2B')}/console/1",
        "console-search": f"/runs/{new}/cells/{place.cell.replace('+', '%2B')}/console/1?find=line+42",
        "signoffs": "/signoffs",
        "signoff": f"/signoffs/{place.signoff}",
        "trouble": "/runs/none",
    }


def look(browser, place, shots):
    """Every page at every size, in both colours, with and without the script."""
    for width, height in SIZES:
        for scheme in ["light", "dark"]:
            for script in [True, False]:
                context = browser.new_context(
                    viewport=dict(width=width, height=height), color_scheme=scheme, java_script_enabled=script)
                page = context.new_page()
                page.set_default_timeout(60_000)
                said, elsewhere = [], []
                page.on("console", lambda m, said=said: said.append(m.text) if m.type == "error" else None)
                page.on("pageerror", lambda e, said=said: said.append(str(e)))
                page.on("request", lambda r, all=elsewhere: all.append(r.url) if not r.url.startswith(place.url) else None)
                for name, path in pages(place).items():
                    at = f"{name} at {width}, {scheme}, {'with' if script else 'without'} script"
                    said.clear()
                    answer = page.goto(place.url + path, wait_until="load")
                    wanted = 404 if name == "trouble" else 200
                    check(answer.status == wanted, f"{at}: status {answer.status}")
                    noise = [s for s in said if not (wanted == 404 and "404" in s)]
                    check(not noise, f"{at}: the browser says {noise}")
                    check(page.locator("h1").count() == 1, f"{at}: one heading")
                    check(page.locator("main").count() == 1 and page.locator("main").inner_text().strip() != "",
                          f"{at}: has content")
                    if script:
                        wide = page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
                        check(wide <= 0, f"{at}: {wide} px wider than the window")
                        check(page.evaluate("window.evil === undefined"), f"{at}: a guest's script ran")
                    if shots and script:
                        page.screenshot(path=f"{shots}/{name}-{width}-{scheme}.png", full_page=height < 900 or name != "console")
                check(not elsewhere, f"requests left the server: {elsewhere[:3]}")
                context.close()


def keyboard(browser, place):
    """From the first page to a case, without a pointer."""
    page = browser.new_page(viewport=dict(width=1280, height=900))
    page.set_default_timeout(60_000)
    page.goto(place.url + "/")
    page.keyboard.press("Tab")
    check(page.evaluate("document.activeElement.className") == "skip", "the first stop skips to the content")
    page.keyboard.press("Enter")
    check(page.url.endswith("#main"), "the skip link leads to the content")
    page.goto(place.url + "/")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "find":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    check(outline != "none", "the focus is seen")
    page.keyboard.type("codec/t_part0:case_1")
    page.keyboard.press("Enter")
    page.wait_for_url("**/case?case=**")
    check("codec/t_part0:case_1" in page.locator("h1").inner_text(), "a case is found by its name")
    # Every stop of a page can be seen and has a name.
    page.goto(f"{place.url}/runs/{place.runs[1]}")
    names = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        what = page.evaluate(
            "(e => e.innerText || e.getAttribute('aria-label') || e.getAttribute('placeholder') || '')(document.activeElement)")
        names.add(what.strip())
    check("" not in names and len(names) > 15, f"every stop has a name: {sorted(names)[:5]}")
    page.close()


def live(browser, place):
    """The queue's page follows what happens, and only with a script."""
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(place.url + "/queue")
    before = page.locator("tbody tr").count()
    page.wait_for_timeout(1500)
    place.order()
    page.wait_for_function("n => document.querySelectorAll('tbody tr').length > n", arg=before)
    check(True, "a job appears without a reload")
    still = browser.new_context(java_script_enabled=False).new_page()
    still.goto(place.url + "/queue")
    check(still.locator("tbody tr").count() > before, "without a script the page has it too")
    page.close()


def paths(browser, place):
    """From a finding to its evidence, and from a search in a console to a line."""
    page = browser.new_page(viewport=dict(width=1280, height=900))
    page.set_default_timeout(60_000)
    page.goto(place.url + "/runs")
    page.locator("table.runs tbody a").first.click()
    check(page.locator("ol.findings li").count() >= 2, "a run shows its findings")
    page.locator("ol.findings a", has_text="case").first.click()
    page.wait_for_url("**/case?case=**")
    page.goto(f"{place.url}/runs/{place.runs[1]}")
    page.get_by_role("link", name="Compare").click()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/diff?from=**")
    check(page.locator("#came").count() == 1 and page.locator("#gone").count() == 1, "a difference has what came and went")
    page.goto(place.url + pages(place)["console"])
    check("of the kernel" in page.locator("ol.console").inner_text(), "a console is shown")
    page.get_by_label("Find in it").fill("line 2400 ")
    page.keyboard.press("Enter")
    page.wait_for_url("**find=**")
    page.locator("ol.console a").first.click()
    page.wait_for_url("**#L2401")
    check(page.locator("#L2401").is_visible(), "a hit leads to its line")
    with page.expect_download() if False else page.expect_response("**/cast") as cast:
        page.evaluate("fetch(document.querySelector('a[href$=\"/cast\"]').href)")
    check(cast.value.status == 200, "a console is there as asciicast")
    page.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default="target/debug/fallout")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("chromium-browser") or "")
    parser.add_argument("--shots", default="")
    args = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Python's playwright")
    if not args.chromium:
        missing("Chromium")
    if args.shots:
        os.makedirs(args.shots, exist_ok=True)
    place = Place(args.binary)
    try:
        place.fill()
        place.start()
        place.order()
        with sync_playwright() as tools:
            browser = tools.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
            print(f"browser: Chromium {browser.version}")
            look(browser, place, args.shots)
            keyboard(browser, place)
            live(browser, place)
            paths(browser, place)
            browser.close()
        log = (place.root / "daemon.log").read_text(encoding="utf-8")
        check("panicked" not in log and "internal error" not in log, "the daemon's log has a panic")
    finally:
        place.end()
    print(f"browser: {checks} checks, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
