"""The page at `/`, in Debian's chromium, on a server process of its own.

    pytest tests/test_page.py

The model is the tiny one, whose words mean nothing: what it cannot say (commands, markup) comes from
`Scripted`, which stands before the same server and answers /generate from a list.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("litserve")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser, Locator, Page, expect  # noqa: E402

from llmkit.picture import picture, presets  # noqa: E402
from tests.serving import KEY, Running, listens, running, start  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: {CHROMIUM}")

SLOW = 60_000  # milliseconds; a browser, a server and more share a core
BAD = '<img src=x onerror="window.pwned=1">'
DISK = {"name": "sda", "size": 256060514304, "model": "WD Blue", "transport": "sata"}
PARTITION = "sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:0 /dev/sda"
FORMAT = "mkfs.fat -F32 /dev/sda1 && mkfs.ext4 /dev/sda2"
MOUNT = "mount /dev/sda2 /mnt && mkdir -p /mnt/boot && mount /dev/sda1 /mnt/boot"


# What stands behind the page


class Scripted:
    """Before a server: /generate is answered from `says`, all else by the server.

    An item is text, a command in {}, or None: two pieces, and the connection breaks. `asked` holds
    the bodies that came; the second look at a text (tool_choice=required) is answered from `nearly`,
    with an empty text where nothing is left, and stands in `looked`.
    """

    def __init__(self, server: Running) -> None:
        self.says: list[str | dict[str, Any] | None] = []
        self.asked: list[dict[str, Any]] = []
        self.nearly: list[str | dict[str, Any] | None] = []
        self.looked: list[dict[str, Any]] = []
        self.hold: threading.Event | None = None  # a second look waits for it
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:
                self._pass(None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/generate":
                    asked = json.loads(body)
                    if asked.get("tool_choice") == "required":
                        outer.looked.append(asked)
                        if outer.hold is not None:
                            outer.hold.wait(60)
                        self._say(outer.nearly.pop(0) if outer.nearly else "")
                    else:
                        outer.asked.append(asked)
                        self._say(outer.says.pop(0))
                else:
                    self._pass(body)

            def _pass(self, body: bytes | None) -> None:
                there = HTTPConnection("127.0.0.1", server.port, timeout=60)
                there.request(self.command, self.path, body)
                answer = there.getresponse()
                raw = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)
                there.close()

            def _say(self, said: str | dict[str, Any] | None) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                if isinstance(said, dict):
                    body = {"type": "tool_call", "tool_name": "run_shell_command",
                            "arguments": said, "finish_reason": "tool_calls"}  # fmt: skip
                else:
                    for piece in (
                        ("half ", "an ans") if said is None else re.findall(".{1,7}", said)
                    ):
                        self._event({"delta": piece})
                        time.sleep(0.01)
                    if said is None:
                        return
                    end = "length" if said.startswith("$") else "stop"
                    body = {"type": "text", "response": said, "finish_reason": end}
                self._event({"success": True, **body})

            def _event(self, data: Any) -> None:
                self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")
                self.wfile.flush()

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def end(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class Site:
    """A server process that can be ended and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = listens(start(folder))
        self.server.healthy()

    def end(self) -> None:
        self.server.process.kill()
        self.server.process.wait()

    def again(self) -> None:
        self.server = listens(start(self.folder, f"port={self.server.port}"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    found = Site(tmp_path_factory.mktemp("page") / "server")
    yield found
    found.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=SLOW)
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def scripted(site: Site) -> Iterator[Scripted]:
    found = Scripted(site.server)
    yield found
    found.end()


class Tab:
    """A page in the browser, and what its console complained of."""

    def __init__(self, page: Page, port: int) -> None:
        self.page, self.port = page, port
        self.complaints: list[str] = []
        page.set_default_timeout(SLOW)
        page.on("console", lambda said: said.type == "error" and self._said(said.text))
        page.on("pageerror", lambda error: self._said(str(error)))
        page.goto(f"http://127.0.0.1:{port}/")
        self._session = page.context.new_cdp_session(page)

    def _said(self, text: str) -> None:
        if "Failed to load resource" not in text:  # it was refused, or nobody was there
            self.complaints.append(text)

    def evaluate(self, code: str) -> Any:
        """By the debugger: the page's own policy lets nobody evaluate text."""
        found = self._session.send(
            "Runtime.evaluate",
            {"expression": code, "returnByValue": True, "allowUnsafeEvalBlockedByCSP": False},
        )
        if "exceptionDetails" in found:
            return found["exceptionDetails"]["exception"]["description"]
        return found["result"].get("value")

    def tree(self) -> list[tuple[str, str]]:
        """Role and name of what a screen reader finds."""
        nodes = self._session.send("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node.get("ignored")
        ]

    def ready(self) -> Tab:
        expect(self.page.locator("html[data-ready=yes]")).to_be_attached(timeout=SLOW)
        return self

    def paste(self, machine: Any) -> None:
        """Talk about this machine from now on."""
        text = machine if isinstance(machine, str) else json.dumps(machine)
        if self.page.locator("#choose:not([open])").count():
            self.page.get_by_text("Choose another machine").click()
        self.page.fill("#pasted", text)
        self.page.click("#use-pasted")
        expect(self.page.locator("#choose")).not_to_have_attribute("open", "", timeout=SLOW)

    def send(self, text: str) -> None:
        expect(self.page.locator("#send")).to_be_enabled(timeout=SLOW)
        self.page.fill("#message", text)
        self.page.press("#message", "Enter")

    def card(self) -> Locator:
        """The newest card, once it is there."""
        last = self.page.locator("#log > li:last-child article")
        expect(last).to_be_visible(timeout=SLOW)
        return last

    def apply(self) -> None:
        """Agree to what is proposed, twice where it is asked twice."""
        card = self.card()
        card.get_by_role("button", name="Apply to the simulated machine").click()
        end = card.locator(".end:not([hidden])").first
        sure = card.get_by_role("button", name="Destroy and apply")
        expect(sure.or_(end)).to_be_visible(timeout=SLOW)
        if sure.count():
            sure.click()
        expect(end).to_have_text("Applied.", timeout=SLOW)

    def parts(self) -> list[str]:
        """What the picture holds: the titles of its parts."""
        return self.page.locator("#picture svg.disk .part title").all_text_contents()


@pytest.fixture
def open_tab(browser: Browser, site: Site) -> Iterator[Any]:
    contexts = []

    def make(port: int | None = None, **options: Any) -> Tab:
        context = browser.new_context(**options)
        contexts.append(context)
        return Tab(context.new_page(), port or site.server.port)

    yield make
    for context in contexts:
        context.close()


# Without a browser


def test_the_policy_is_strict(site: Site) -> None:
    """Each file: no script but the page's own, no eval, nothing inline, nothing from elsewhere, no
    frame; and its own type."""
    paths = {"/": "text/html", "/page/main.js": "text/javascript", "/page/page.css": "text/css"}
    for path, kind in paths.items():
        answer = site.server.ask("GET", path, key=None)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["x-content-type-options"] == "nosniff"
        rules = dict(
            rule.strip().split(" ", 1)
            for rule in answer.headers["content-security-policy"].split(";")
        )
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert (
            rules["require-trusted-types-for"] == "'script'" and rules["trusted-types"] == "'none'"
        )


def test_nothing_comes_from_elsewhere_and_nothing_is_inline() -> None:
    """No address of another host but SVG's name, no handler, style or script in the document, no way
    from text to HTML in the scripts."""
    folder = Path(__file__).parents[1] / "llmkit" / "page"
    found = {path.name: path.read_text() for path in folder.iterdir()}
    for name, text in found.items():
        assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}, name
    assert not re.search(r"<style|\son\w+=|\sstyle=|javascript:", found["index.html"])
    assert re.findall(r"<script[^>]*>(.*?)</script>", found["index.html"]) == [""]
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|Function\("
    for name in found:
        assert name.endswith(".html") or not re.search(ways, found[name]), name


def test_no_other_file_is_served(site: Site) -> None:
    """Neither beside the page's files nor above them."""
    for path in ("/page/", "/page/index.html", "/page/../serve.py", "/page/%2e%2e/serve.py"):
        assert site.server.ask("GET", path).status == 404


def test_presets_come_from_the_domain(site: Site) -> None:
    """Machines of every disk layout and firmware of the config, each once, which /domain/check takes."""
    found = site.server.ask("GET", "/page/begin").json()
    names = [preset["name"] for preset in found["presets"]]
    assert len(set(names)) == len(names) > 10
    assert {name.split(":")[0] for name in names} == {"UEFI", "BIOS"}
    for preset in found["presets"]:
        asked = {"state": preset["state"], "command": "lsblk"}
        assert site.server.post("/domain/check", asked).json()["allowed"], preset["name"]


def test_the_picture_is_the_machine(site: Site) -> None:
    """Parts in order, with their sizes, what is free between them, and where they are in use."""
    gib = 1 << 30
    parts = [
        {"number": 1, "start": gib, "size": gib, "type": "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"},
        {"number": 2, "start": 4 * gib, "size": 4 * gib, "signature": {"kind": "ext4"},
         "type": "0fc63daf-8483-4772-8e79-3d69d8477de4"},
    ]  # fmt: skip
    disk = {"name": "sda", "size": 8 * gib, "table": "gpt", "partitions": parts}
    state = {"disks": [disk], "mounts": [{"source": "/dev/sda2", "target": "/mnt"}]}
    found = site.server.post("/page/show", {"state": state})
    assert found.status == 200, found.body
    (bar,) = found.json()["picture"]["bars"]
    drawn = [
        (part["title"], part["size"] // gib, part["kind"], part["place"]) for part in bar["parts"]
    ]
    assert drawn == [
        ("free", 1, "free", ""), ("sda1", 1, "boot", ""), ("free", 2, "free", ""),
        ("sda2", 4, "root", "/mnt"),
    ]  # fmt: skip
    assert ["/dev/sda2", "/mnt", "–"] in found.json()["picture"]["tables"][0]["rows"]
    assert site.server.post("/page/show", {"state": {"discs": []}}).status == 400
    assert site.server.post("/page/show", {"state": {}, "command": "x"}).status == 400


def test_a_domain_without_pictures_has_them() -> None:
    """The lines of its context, and its scenarios as presets, one of each name."""

    class Lights:
        def to_context(self, state: str) -> str:
            return f"on: {state}\n\noff: none"

        def every_scenario(self, cfg: Any, when: Any, start: Any) -> list[Any]:
            return [SimpleNamespace(state=lamp, summary={"lamp": lamp}) for lamp in ("a", "b", "a")]

        def begin(self, scenario: Any, start: Any) -> str:
            return scenario.state

    lights: Any = Lights()
    (table,) = picture(lights, "a").tables
    assert table.rows == (("on: a",), ("off: none",)) and not picture(lights, "a").bars
    found = [(preset.name, preset.state) for preset in presets(lights, None)]
    assert found == [("lamp: a", "a"), ("lamp: b", "b")]


# With one


def test_a_conversation_with_the_real_model(open_tab: Any, site: Site) -> None:
    """The text that streams in is what the server answers; commands of one's own partition, format
    and mount a disk, and the picture, the mounts and the facts follow."""
    tab = open_tab().ready()
    tab.paste({"disks": [DISK]})
    assert tab.parts() == ["empty: 238.5G, free"]
    tab.send("hello")
    said = tab.page.locator("#log > li.model:not(.waiting) .text").last
    expect(said).to_be_visible(timeout=SLOW)
    begin = site.server.ask("GET", "/page/begin").json()
    asked = {
        "messages": [{"role": "user", "content": "hello"}],
        "system_context": tab.page.locator("#context").text_content(),
        **{name: begin[name] for name in ("max_tokens", "temperature")},
    }
    answer = site.server.post("/generate", asked).json()
    assert answer["type"] == "text"
    assert said.text_content() == answer["response"].strip()
    tab.send(f"$ {PARTITION}")
    card = tab.card()
    expect(card.locator(".badge")).to_have_text("Proposed")
    expect(card.locator(".does")).to_contain_text("2 partitions on sda")
    assert tab.parts() == ["empty: 238.5G, free"]  # nothing has happened
    for line in (PARTITION, FORMAT, MOUNT):
        if line is not PARTITION:
            tab.send(f"$ {line}")
        tab.apply()
    assert tab.parts() == [
        "sda1: 512M, vfat, EFI system (/mnt/boot)", "sda2: 238G, ext4 (/mnt)",
    ]  # fmt: skip
    rows = [row.split() for row in tab.page.locator("tbody tr").all_inner_texts()]
    assert rows == [["/dev/sda2", "/mnt", "ext4"], ["/dev/sda1", "/mnt/boot", "vfat"]]
    widths = [
        float(rect.get_attribute("width") or 0)
        for rect in tab.page.locator("#picture svg.disk rect").all()
    ]
    assert widths[1] > 10 * widths[0] > 0  # to scale, but the small one can be seen
    tab.page.click("#undo")
    assert tab.parts() == ["sda1: 512M, vfat, EFI system", "sda2: 238G, ext4"]
    assert tab.complaints == []


def test_a_proposal_of_the_model_waits_for_a_person(open_tab: Any, scripted: Scripted) -> None:
    """It is shown with what it would do, and happens when it is applied; the model then reads that it
    ran and the new machine; a refused one is an answer in words; one that is not applied is not run."""
    tab = open_tab(scripted.port).ready()
    tab.paste({"disks": [DISK]})
    absent = [{"command": f"mkfs.ext4 /dev/sdz{number}"} for number in (1, 2, 3)]  # page.tries
    scripted.says = [{"command": PARTITION}, *absent, {"command": FORMAT}, "Fine."]
    tab.send("use the disk")
    tab.apply()
    tab.send("format it")
    card = tab.card()
    expect(card.locator(".badge")).to_have_text("Refused")
    expect(card.locator(".reason")).to_contain_text("/dev/sda1 and /dev/sda2")
    assert [button.inner_text() for button in card.get_by_role("button").all()] == ["Edit"]
    tab.send("the other")
    expect(tab.card().get_by_role("button", name="No")).to_be_visible()
    before = tab.parts()
    tab.send("wait")
    expect(tab.page.locator("#log > li.model:not(.waiting) .text").last).to_have_text("Fine.")
    assert (
        tab.parts()
        == before
        == ["sda1: 512M, not formatted, EFI system", "sda2: 238G, not formatted"]
    )
    one, two, _, _, three, four = scripted.asked
    assert one["messages"] == [{"role": "user", "content": "use the disk"}]
    assert two["messages"][1] == {"role": "assistant", "content": f"$ {PARTITION}"}
    assert "/dev/sda2: 238G" in two["system_context"] and "sda2" not in one["system_context"]
    assert three["messages"][3]["content"].startswith("There is no /dev/sdz1 on this machine")
    assert four["messages"][5] == {
        "role": "assistant",
        "content": "All right, I have not run that.",
    }
    assert tab.complaints == []


def test_another_disk_than_the_one_that_was_named_is_not_offered(
    open_tab: Any, scripted: Scripted
) -> None:
    """Asked to erase a disk that is not there, a model that can name no absent one takes another: what
    comes is an answer in words, with nothing to press, and the model reads it as its own. The command
    is there to be read. What fails is held back alike; one's own command is not."""
    tab = open_tab(scripted.port).ready()
    tab.paste({"disks": [{**DISK, "signature": {"kind": "ext4"}}]})
    before = tab.parts()
    scripted.says = [
        {"command": "wipefs -a /dev/sda"},
        {"command": "swapon /dev/sda"},
        {"command": "swapon /dev/sda1"},
        "No.",  # drawn: what is wrong with the first one is known
        "Fine.",
    ]
    for said, told, held in (
        ("erase /dev/sdz", "sdz", "wipefs -a /dev/sda"),
        ("use it as swap", "swap", "swapon /dev/sda"),
    ):
        tab.send(said)
        last = tab.page.locator("#log > li:last-child")
        expect(last.locator(".text")).to_contain_text(told, timeout=SLOW)
        assert last.get_by_role("button").count() == 0
        expect(last.locator("details code")).to_have_text(held)
    tab.send("and now?")
    expect(tab.page.locator("#log > li.model:not(.waiting) .text").last).to_have_text("Fine.")
    *_, asked = scripted.asked
    assert "sdz" in asked["messages"][1]["content"] and asked["messages"][1]["role"] == "assistant"
    assert tab.parts() == before
    tab.send("$ wipefs -a /dev/sda")
    tab.apply()
    assert tab.parts() != before


def test_in_place_of_what_could_never_work_another_answer_is_drawn(
    open_tab: Any, scripted: Scripted
) -> None:
    """As the chat does it: at the temperature of `page.retry`, with a seed; the first that may be run is
    offered, and the person sees no other."""
    tab = open_tab(scripted.port).ready()
    tab.paste({"disks": [DISK]})
    scripted.says = [{"command": "mkfs.ext4 /dev/sda7"}, {"command": "mkfs.ext4 -F /dev/sda"}]
    tab.send("format it as ext4")
    expect(tab.page.locator("#log > li:last-child code")).to_have_text("mkfs.ext4 -F /dev/sda")
    first, second = scripted.asked
    assert (first["temperature"], "seed" in first) == (0, False)
    assert (second["temperature"], second["top_p"], second["seed"]) == (0.7, 0.9, 1)
    assert second["messages"] == first["messages"]
    assert "sda7" not in tab.page.locator("#log").inner_text()


def test_the_line_that_was_asked_for_is_offered(open_tab: Any, scripted: Scripted) -> None:
    """At once and with a button; what the model wrote can be read below it, also after a reload."""
    tab = open_tab(scripted.port).ready()
    tab.paste({"disks": [DISK]})
    scripted.says = [{"command": "mkfs.ext4 -F /dev/sda"}]
    tab.send("xfs on sda")
    card = tab.card()
    expect(card.locator("code").first).to_have_text("mkfs.xfs -f /dev/sda")
    for again in (False, True):
        if again:
            tab.page.reload()
            tab.ready()
        last = tab.page.locator("#log > li:last-child")
        expect(last.locator("details code")).to_have_text("mkfs.ext4 -F /dev/sda")
        expect(last.locator("details summary")).to_have_text(
            "The model's own line, which was corrected"
        )
    tab.apply()
    assert "xfs" in tab.parts()[0] and len(scripted.asked) == 1
    assert tab.complaints == []


def test_a_text_that_was_nearly_a_command_is_looked_at_again(
    open_tab: Any, scripted: Scripted
) -> None:
    """A proposal comes in its place where the message names what the command works on and nothing is
    against it. The text stays where a question must be put (the disk is named, nobody said to erase
    it), where the message does not name the disk, and where it was no command nearly."""
    tab = open_tab(scripted.port).ready()
    tab.paste({"disks": [DISK]})
    scripted.says = ["Good.", "There is one.", "It is a disk.", "Which one shall I format?"]
    make = {"command": "mkfs.ext4 -F /dev/sda"}
    scripted.nearly = [make, {"command": "lsblk /dev/sda"}, "", make]
    words = tab.page.locator("#log > li.model:not(.waiting) > .text")
    for said in ("i have a disk sda", "show the disk", "what is sda?"):
        told = scripted.says[0]
        tab.send(said)
        expect(words.last).to_have_text(told)
    tab.send("format sda as ext4")
    expect(tab.card().locator("code").first).to_have_text("mkfs.ext4 -F /dev/sda")
    assert "Which one" not in tab.page.locator("#log").inner_text()
    first, *_ = scripted.looked
    assert (first["temperature"], first["tool_threshold"]) == (0, 0.05)
    assert first["messages"] == scripted.asked[0]["messages"]
    assert len(scripted.looked) == len(scripted.asked) == 4
    assert tab.complaints == []


def test_words_that_have_come_stay_when_the_second_look_is_stopped(
    open_tab: Any, scripted: Scripted
) -> None:
    """They are the answer, and the model is sent them later."""
    tab = open_tab(scripted.port).ready()
    tab.paste({"disks": [DISK]})
    scripted.says = ["It is a disk.", "Fine."]
    scripted.hold = threading.Event()
    tab.send("what is sda?")
    expect(tab.page.locator("#log > li.waiting .text")).to_have_text("It is a disk.")
    tab.page.click("#stop")
    expect(tab.page.locator("#log > li.model:not(.waiting) > .text").last).to_have_text(
        "It is a disk."
    )
    assert tab.page.locator("#log > li.problem").count() == 0
    scripted.hold.set()
    tab.send("and now?")
    expect(tab.page.locator("#log > li.model:not(.waiting) > .text").last).to_have_text("Fine.")
    assert [each["content"] for each in scripted.asked[1]["messages"]] == [
        "what is sda?", "It is a disk.", "and now?",
    ]  # fmt: skip


def test_words_that_are_not_so_are_asked_for_again(open_tab: Any, scripted: Scripted) -> None:
    """As in the chat: what another try proposes is offered; where it only speaks again, what is known
    to be so is said."""
    tab = open_tab(scripted.port).ready()
    tab.paste({"disks": [DISK]})
    scripted.says = ["I formatted /dev/sda2f10.", {"command": "lsblk /dev/sda"},
                     "I formatted /dev/sda2f10.", "It is done."]  # fmt: skip
    tab.send("show sda")
    expect(tab.card().locator("code").first).to_have_text("lsblk /dev/sda")
    tab.send("and now?")
    last = tab.page.locator("#log > li.model:not(.waiting) > .text").last
    expect(last).to_have_text(re.compile("What shall I do"))
    assert "f10" not in tab.page.locator("#log > li.model:not(.waiting)").last.inner_text().replace(
        "There is no /dev/sda2f10", ""
    )
    assert [each.get("seed") for each in scripted.asked] == [None, 1, None, 1]
    assert tab.complaints == []


def test_a_reload_keeps_the_conversation(open_tab: Any, scripted: Scripted) -> None:
    """Machine, messages, verdicts, the way back and a command that waits for its person are there again,
    and go on as if nothing had been; the model is sent what was said before."""
    tab = open_tab(scripted.port).ready()
    tab.paste({"disks": [DISK]})
    scripted.says = [{"command": PARTITION}, "Two partitions.", {"command": FORMAT}, "Done."]
    tab.send("use the disk")
    tab.apply()
    tab.send("what is on it?")
    expect(tab.page.locator("#log > li.model:not(.waiting) .text").last).to_have_text(
        "Two partitions."
    )
    tab.send("$ mkfs.ext4 /dev/sdz1")
    expect(tab.card().locator(".badge")).to_have_text("Refused")
    tab.send("format them")
    expect(tab.card().get_by_role("button", name="No")).to_be_visible()
    log, parts = tab.page.locator("#log").inner_text(), tab.parts()
    tab.page.reload()
    tab.ready()
    assert tab.page.locator("#log").inner_text() == log
    assert tab.parts() == parts
    tab.apply()
    assert tab.parts() == ["sda1: 512M, vfat, EFI system", "sda2: 238G, ext4"]
    tab.send("thanks")
    expect(tab.page.locator("#log > li.model:not(.waiting) .text").last).to_have_text("Done.")
    said = [message["content"] for message in scripted.asked[-1]["messages"]]
    assert said[:4] == ["use the disk", f"$ {PARTITION}", "what is on it?", "Two partitions."]
    assert said[-3:] == ["format them", f"$ {FORMAT}", "thanks"]
    tab.page.reload()
    tab.ready()
    for left in (parts, ["empty: 238.5G, free"]):
        tab.page.click("#undo")
        assert tab.parts() == left
    tab.page.reload()
    tab.ready()
    assert tab.parts() == ["empty: 238.5G, free"]
    expect(tab.page.locator("#log > li:last-child")).to_have_text(f"Taken back: {PARTITION}")
    tab.page.click("#again")
    tab.page.reload()
    tab.ready()
    expect(tab.page.locator("#log > li")).to_have_count(2)
    assert tab.complaints == []


def test_a_reload_while_an_answer_is_on_its_way(
    open_tab: Any, site: Site, scripted: Scripted
) -> None:
    """What was asked is there, and can be sent again."""
    tab = open_tab(scripted.port).ready()
    scripted.says = ["word " * 400, "Hello."]
    tab.send("hello there")
    expect(tab.page.locator("#log > li.waiting .text")).to_contain_text("word")
    tab.page.reload()
    tab.ready()
    last = tab.page.locator("#log > li:last-child")
    expect(last).to_contain_text("before the answer came")
    last.get_by_role("button", name="Send again").click()
    expect(tab.page.locator("#log > li.model:not(.waiting) .text").last).to_have_text("Hello.")


def test_what_is_kept_is_bounded(open_tab: Any) -> None:
    """However much there is, it fits into the tab's storage: the oldest steps go first, then the oldest
    of what is shown, then the oldest messages, in pairs; the newest stays, and the proposal at the end
    still knows its place among the messages."""
    tab = open_tab().ready()
    tab.evaluate("import('/page/keep.js').then((keep) => { window.keep = keep; })")
    tab.page.wait_for_timeout(500)
    tab.evaluate(
        "window.made = (steps, shown, said, size) => ({machine: {state: {}, earlier: Array.from("
        "{length: steps}, (_, n) => ({n, x: 'x'.repeat(size)}))}, entries: Array.from({length: shown}, (_, n)"
        " => ({kind: 'note', n, text: 'y'.repeat(size), before: said - 2})), messages: Array.from("
        "{length: said}, (_, n) => ({role: n % 2 ? 'assistant' : 'user', content: n + 'z'.repeat(size)}))})"
    )
    found = {}
    for counts in ((3, 5, 4, 100), (40, 5, 4, 100_000), (0, 40, 4, 100_000), (0, 1, 40, 100_000),
                   (1, 500, 2, 10), (1, 1, 2, 2_000_000)):  # fmt: skip
        tab.evaluate(f"keep.save(made{counts})")
        text = str(tab.evaluate("sessionStorage.getItem('llmkit')"))
        assert len(text) <= 1_500_000
        found[counts] = tab.evaluate("keep.load()")
    steps, shown, said = (
        lambda kept: [step["n"] for step in kept["machine"]["earlier"]],
        lambda kept: [entry["n"] for entry in kept["entries"]],
        lambda kept: kept["messages"],
    )
    everything, many_steps, much_shown, much_said, long_log, too_long = found.values()
    assert (steps(everything), shown(everything), len(said(everything))) == (
        [0, 1, 2], [0, 1, 2, 3, 4], 4)  # fmt: skip
    assert steps(many_steps)[-1:] == [39] and len(shown(many_steps)) == 5
    assert shown(much_shown)[-1] == 39 and 1 < len(shown(much_shown)) < 15
    assert said(much_said)[0]["role"] == "user" and said(much_said)[-1]["content"].startswith("39")
    assert much_said["entries"][0]["before"] == len(said(much_said)) - 2
    assert shown(long_log) == list(range(300, 500))
    assert too_long is None


def test_a_reload_keeps_no_key(open_tab: Any) -> None:
    """It is asked for again, and then the conversation is there; another tab begins anew."""
    server = running("keys")
    tab = open_tab(server.port)

    def unlock(page: Page) -> None:
        expect(page.locator("#ask-key")).to_be_visible(timeout=SLOW)
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        expect(page.locator("html[data-ready=yes]")).to_be_attached(timeout=SLOW)

    unlock(tab.page)
    tab.paste({"disks": [DISK]})
    tab.send("$ lsblk")
    tab.card()
    kept = str(
        tab.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])")
    )
    assert "lsblk" in kept and KEY not in kept
    tab.page.reload()
    unlock(tab.page)
    expect(tab.card().locator("code")).to_have_text("lsblk")
    other = tab.page.context.new_page()
    other.goto(f"http://127.0.0.1:{server.port}/")
    unlock(other)
    expect(other.locator("#log > li")).to_have_count(2)


@pytest.mark.parametrize("kept", ["{", '{"version": 1, "machine": {"earlier": []}, "messages": [5], '
                                  '"entries": [{"kind": "card"}]}', '{"version": 0}'])  # fmt: skip
def test_what_is_kept_and_cannot_be_used_is_dropped(open_tab: Any, kept: str) -> None:
    """The page begins as it does for somebody new."""
    tab = open_tab().ready()
    tab.evaluate(f"sessionStorage.setItem('llmkit', {kept!r})")
    tab.page.reload()
    tab.ready()
    expect(tab.page.locator("#log > li")).to_have_count(2)
    assert tab.parts() and tab.complaints == []


def test_what_is_destroyed_is_asked_twice(open_tab: Any, scripted: Scripted) -> None:
    """One press shows which disk loses something; No leaves it as it was."""
    tab = open_tab(scripted.port).ready()
    tab.paste({"disks": [{**DISK, "signature": {"kind": "ext4"}}]})
    scripted.says = [{"command": "mkfs.xfs -f /dev/sda"}] * 2
    tab.send("format it")
    card = tab.card()
    card.get_by_role("button", name="Apply to the simulated machine").click()
    expect(card.locator(".sure")).to_contain_text("sda")
    card.get_by_role("button", name="No").click()
    expect(card.locator(".end")).to_have_text("Not applied.")
    assert "ext4" in tab.parts()[0]
    tab.send("format it after all")
    tab.apply()
    assert "xfs" in tab.parts()[0]


def test_half_a_command_cannot_be_applied(open_tab: Any, scripted: Scripted) -> None:
    """A call that ran into the limit of tokens comes as text: no button, and it says so."""
    tab = open_tab(scripted.port).ready()
    scripted.says = ["$ rm -rf /mnt/ho"]
    tab.send("remove the old home")
    last = tab.page.locator("#log > li:last-child")
    expect(last).to_contain_text("was cut off", timeout=SLOW)
    assert last.get_by_role("button").count() == 0


def test_markup_is_text_wherever_it_comes_from(open_tab: Any, scripted: Scripted) -> None:
    """A disk's model, a label, a mount point, an answer, its reasoning, a command, an error of the
    server, one's own words: shown as they are, and nothing of them becomes an element or runs."""
    tab = open_tab(scripted.port).ready()
    partition = {"number": 1, "start": 1 << 20, "size": 1 << 30, "type": "83",
                 "signature": {"kind": "ext4", "label": BAD}}  # fmt: skip
    disk = {**DISK, "model": BAD, "table": "msdos", "partitions": [partition]}
    mounts = [{"source": "/dev/sda1", "target": f"/mnt/{BAD}", "fstype": "ext4"}]
    tab.paste({"disks": [disk], "mounts": mounts, "live": {"hostname": BAD}})
    scripted.says = [f"Hello {BAD}<script>window.pwned=1</script>", {"command": f"echo '{BAD}'"}]
    tab.send(f"what is {BAD}?")
    expect(tab.page.locator("#log > li.model:not(.waiting) .text")).to_contain_text(BAD)
    tab.send("say it")
    tab.apply()
    for place in ("figcaption", "#context", "#log > li.you", "article code", "article .output"):
        expect(tab.page.locator(place).first).to_contain_text(BAD)
    assert any(BAD in title for title in tab.parts())  # the label
    assert any(BAD in row for row in tab.page.locator("tbody tr").all_inner_texts())
    tab.page.get_by_text("Choose another machine").click()
    tab.page.fill("#pasted", f"## Available Disks\n- {BAD}")
    tab.page.click("#use-pasted")
    expect(tab.page.locator("#machine-error")).to_contain_text(BAD)
    assert tab.page.locator("img, script:not([src]), iframe, [onerror]").count() == 0
    time.sleep(0.3)  # an image's error would come by now
    assert tab.evaluate("typeof window.pwned") == "undefined"
    assert tab.complaints == []


def test_the_browser_holds_the_page_to_its_policy(open_tab: Any) -> None:
    """HTML from text, evaluated text, and inline scripts do not work, even for the page itself."""
    tab = open_tab().ready()
    assert "TrustedHTML" in tab.evaluate("document.body.innerHTML = '<b>x</b>'")
    assert "EvalError" in tab.evaluate("Function('return 1')()")
    tab.evaluate(
        "{const s = document.createElement('div'); s.setAttribute('onclick', 'window.ran = 1');"
        " document.body.append(s); s.click();}"
    )
    assert tab.evaluate("typeof window.ran") == "undefined"


def test_a_stream_that_breaks_off_is_asked_for_again(open_tab: Any, scripted: Scripted) -> None:
    """Nothing of the half answer stays, nothing is there twice."""
    tab = open_tab(scripted.port).ready()
    scripted.says = [None, "A whole answer."]
    tab.send("hello")
    expect(tab.page.locator("#log > li.model:not(.waiting) .text")).to_have_text(
        "A whole answer.", timeout=SLOW
    )
    assert len(scripted.asked) == 2 and scripted.asked[0] == scripted.asked[1]


def test_the_keyboard_is_enough(open_tab: Any, scripted: Scripted) -> None:
    """From the first Tab to a mounted disk without a mouse; the focus comes back to the message."""
    tab = open_tab(scripted.port).ready()
    scripted.says = [{"command": "mkfs.ext4 /dev/sda && mount /dev/sda /mnt"}]
    page = tab.page
    page.keyboard.press("Tab")
    expect(page.get_by_text("To the message field")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#message")).to_be_focused()
    page.keyboard.type("use the disk as it is")
    page.keyboard.press("Enter")
    card = tab.card()
    for _ in range(3):  # No, Edit, Apply
        page.keyboard.press("Shift+Tab")
    expect(card.get_by_role("button", name="Apply to the simulated machine")).to_be_focused()
    page.keyboard.press("Enter")
    expect(card.get_by_role("button", name="Destroy and apply")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("tbody")).to_contain_text("/mnt", timeout=SLOW)
    expect(page.locator("#message")).to_be_focused()
    expect(page.locator("#say")).to_contain_text("Applied.")


def test_a_screen_reader_finds_names(open_tab: Any, scripted: Scripted) -> None:
    """Everything that can be used or is a picture has a name; the picture's tells of its parts."""
    tab = open_tab(scripted.port).ready()
    tab.paste({"disks": [{**DISK, "signature": {"kind": "ext4"}}]})
    tab.page.get_by_text("Choose another machine").click()
    scripted.says = [{"command": "mount /dev/sda /mnt"}]
    tab.send("mount it")
    expect(tab.page.locator("#say")).to_contain_text("Proposed: mount /dev/sda /mnt")
    tab.card()
    tree = tab.tree()
    roles = ("button", "textbox", "combobox", "image", "img", "link", "region", "article", "figure")
    named = [(role, name) for role, name in tree if role in roles and role != "figure"]
    assert all(name.strip() for _, name in named), named
    assert {"button", "textbox", "combobox", "article"} <= {role for role, _ in named}
    assert ("heading", "Conversation") in tree and ("main", "") in tree
    assert any(
        role in ("image", "img") and "ext4 on the whole disk" in name for role, name in named
    )


CONTRAST = """(() => {
  const light = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return [0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b), a];
  };
  const bad = [];
  for (const node of document.querySelectorAll("body *")) {
    if (node.closest(".unseen, .skip, [disabled], svg") || !node.checkVisibility()) continue;
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
    const style = getComputedStyle(node);
    let at = node, ground = null;
    while (at && ground === null) {
      const [value, alpha] = light(getComputedStyle(at).backgroundColor);
      if (alpha === 1) ground = value;
      at = at.parentElement;
    }
    const ink = light(style.color)[0];
    const ratio = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    const name = `${node.tagName} ${node.className} ${node.textContent.slice(0, 30)}`;
    if (ratio < 4.5) bad.push(`${name} ${ratio.toFixed(2)}`);
  }
  return bad;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(open_tab: Any, scheme: str) -> None:
    """WCAG's contrast of 4.5 for every text, in both schemes, with cards of several kinds; and the
    ground is light or dark as the person wants it."""
    tab = open_tab(color_scheme=scheme).ready()
    tab.paste({"disks": [DISK]})
    for line in (PARTITION, "mkfs.ext4 /dev/sdz1", "rm -rf /", "lsblk", FORMAT):
        tab.send(f"$ {line}")
        if line in (PARTITION, "lsblk"):
            tab.apply()
        tab.card()
    tab.card().get_by_role("button", name="Apply to the simulated machine").click()
    assert tab.evaluate(CONTRAST) == []
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", ground)[0]) > 128) == (scheme == "light")


@pytest.mark.parametrize("size", [(390, 844), (320, 568), (844, 390)])
def test_a_phone_shows_all(open_tab: Any, size: tuple[int, int]) -> None:
    """Nothing is wider than the screen; picture, messages and the way to send are on it; what is
    pressed is not too small for a finger."""
    tab = open_tab(viewport=dict(zip(("width", "height"), size, strict=True)), is_mobile=True,
                   has_touch=True).ready()  # fmt: skip
    tab.paste({"disks": [DISK]})
    tab.send(f"$ {PARTITION}")
    tab.apply()
    wide = tab.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)")
    assert wide <= size[0]
    for place in ("#message", "#send", "#picture svg.disk"):
        expect(tab.page.locator(place).first).to_be_in_viewport()
    for button in tab.page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is None or box["height"] >= 30, button.inner_text()


def test_a_key_is_asked_for(open_tab: Any) -> None:
    """The page comes without one; a wrong key is asked for again; the right one goes with each
    request, and stands nowhere in the document."""
    server = running("keys")
    tab = open_tab(server.port)
    form = tab.page.locator("#ask-key")
    expect(form).to_be_visible(timeout=SLOW)
    tab.page.fill("#key", "wrong")
    with tab.page.expect_response(lambda answer: answer.status == 401):
        tab.page.keyboard.press("Enter")
    expect(form).to_be_visible(timeout=SLOW)
    tab.page.fill("#key", KEY)
    tab.page.keyboard.press("Enter")
    expect(form).to_be_hidden()
    tab.ready()
    tab.paste({"disks": [DISK]})
    tab.send("$ lsblk")
    expect(tab.card().locator(".badge")).to_have_text("Proposed")
    assert KEY not in tab.page.content()


def test_a_server_that_goes_away_and_comes_back(open_tab: Any, site: Site) -> None:
    """Killed and started again at the same address: a banner says so and tries again; machine and
    conversation stay, and what was sent meanwhile is answered without a further press."""
    tab = open_tab().ready()
    tab.paste({"disks": [DISK]})
    tab.send(f"$ {PARTITION}")
    tab.apply()
    kept = tab.parts()
    site.end()
    tab.send(f"$ {FORMAT}")
    banner = tab.page.get_by_role("alert").filter(has_text="The server does not answer")
    expect(banner).to_be_visible(timeout=SLOW)
    expect(banner).to_contain_text(re.compile("Next try in|Trying"))
    expect(tab.page.locator("#status")).to_have_text("not there")
    banner.get_by_role("button", name="Try now").click()
    assert tab.parts() == kept
    site.again()
    expect(banner).to_be_hidden(timeout=2 * SLOW)
    expect(tab.page.locator("#status")).to_have_text("ready", timeout=2 * SLOW)
    tab.apply()
    assert tab.parts() == ["sda1: 512M, vfat, EFI system", "sda2: 238G, ext4"]
    tab.send("hello again")
    expect(tab.page.locator("#log > li.model:not(.waiting) .text")).to_be_visible(timeout=SLOW)
    assert tab.complaints == []


def test_waiting_can_be_stopped(open_tab: Any, scripted: Scripted, site: Site) -> None:
    """While nobody answers, Stop gives up the question, and Send again asks it anew."""
    tab = open_tab(scripted.port).ready()
    scripted.end()
    tab.send("hello")
    expect(tab.page.locator("#banner.away")).to_be_visible(timeout=SLOW)
    tab.page.click("#stop")
    last = tab.page.locator("#log > li:last-child")
    expect(last).to_contain_text("Stopped.")
    last.get_by_role("button", name="Send again").click()
    expect(tab.page.locator("#log > li.you")).to_have_count(2)
    expect(tab.page.locator("#stop")).to_be_visible()
