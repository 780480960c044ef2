"""The page's files as files: what they refer to, what they may not contain, and what they promise."""

from __future__ import annotations

import functools
import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from server.app.features import FEATURES as SERVER_FEATURES
from server.web.routes import Shell, strip_comments
from tests.support.words import first, table

CLIENT = Path(__file__).resolve().parents[2] / "client"
MODULES = sorted(CLIENT.rglob("*.js"))
FILES = sorted(path for path in CLIENT.rglob("*") if path.is_file())
# The page, and the elements of its parts
HTML = "".join(path.read_text(encoding="utf-8") for path in sorted(CLIENT.rglob("*.html")))
CSS = (CLIENT / "tokens.css").read_text(encoding="utf-8")

# Lowest first, below core/. A folder knows itself and those below it; folders of one line know
# nothing of each other.
CORE = [
    ["words"],
    ["live"],
    ["page"],
    ["attention", "chat", "stage"],
    ["answer", "app", "dialogs", "doctor", "facts", "operator", "settings"],
    [""],
]
# Join what carries with what shows; of the others none reaches both.
JOINS = [
    "client",
    *("core/page", "core/page/language", "core/page/part"),
    *("core/answer/panel", "core/doctor/panel", "core/operator/panel"),
    *("features/*/operator", "features/cameras/join/join", "features/cameras/panel"),
    *("features/grants/panel", "features/guidance/lead", "features/hosting/panel"),
    "features/voice_in/listening",
    *("features/pointing/marks", "features/pointing/pick", "features/pointing/stillmarks"),
]
# Fetched when somebody opens them, each with all that it imports and the page has not
PARTS = {
    "core/chat.js": {"core/answer/panel.js", "core/chat/tools.js"},
    "core/dialogs.js": {"core/dialogs/dialogs.js"},
    "core/settings.js": {"core/settings/panel.js"},
    "client.js": {
        "core/doctor/panel.js",
        "core/facts/panel.js",
        "core/extras.js",
        "core/launch.js",
        "core/operator/panel.js",
    },
    "features/cameras/index.js": {"features/cameras/panel.js"},
    "features/describe/index.js": {"core/attention/changes.js"},
    "features/grants/index.js": {"features/grants/panel.js"},
    "features/guidance/index.js": {
        "features/guidance/around.js",
        "features/guidance/guide.js",
        "features/guidance/lead.js",
    },
    "features/hosting/index.js": {"features/hosting/panel.js"},
    "features/pointing/index.js": {
        "features/pointing/follow.js",
        "features/pointing/marks.js",
        "features/pointing/pick.js",
    },
    "features/recall/index.js": {"features/recall/memoryview.js"},
    "features/voice_in/index.js": {
        "features/voice_in/browser.js",
        "features/voice_in/listening.js",
    },
    "features/voice_out/index.js": {"features/voice_out/spoken.js"},
    "features/watches/index.js": {"features/watches/condition.js", "features/watches/panel.js"},
}
# Fetched with a feature that is on, by the list in features.js
HEADS = {
    path.relative_to(CLIENT).as_posix()
    for name in ("index.js", "operator.js")
    for path in CLIENT.glob(f"features/*/{name}")
}
# The page's own style sheets, in this order: the later ones build on the first
SHEETS = ["tokens.css", "style.css", "core/stage/stage.css", "core/chat/chat.css"]
# Fetched with any of several parts
SHARED = {
    *("core/attention/changes.js", "core/stage/hintline.js"),
    *("core/operator/asking.js", "core/operator/rounds.js"),
    *("core/page/earcons.js", "core/page/notes.js", "core/page/tones.js"),
}
# Only comments name it.
TYPES = "core/live/messages.d.ts"
# Of a first load: not compressed, and as it is sent
MOST_FILES, MOST_BYTES, MOST_SENT = 45, 260_000, 81_500
# Fetched by boot.js, some time after the page
AFTER = ["core/app/updates.js"]
# A page of its own, for a device that joins as a further camera
JOIN = "features/cameras/join/join.js"
# The workers that they start
WORKERS = ["features/pointing/worker.js"]
FEATURES = {one.parent.name for one in CLIENT.glob("features/*/index.js")}
# Keeps the page's files; the browser fetches it by itself.
SERVICE_WORKER = "service_worker.js"
# Neither carry nor show: they know words and numbers alone.
PURE = [
    *("languages/*", "core/words/*", "features/*/words", "features/*/condition"),
    *("core/answer/inline", "core/answer/keep", "core/answer/markdown"),
    *("core/chat/conversation", "core/chat/language", "core/facts/words"),
    *("core/operator/asking", "core/operator/rounds", "core/operator/words"),
    "features/hosting/engine/words",
    *("core/page/picture", "core/page/routes", "core/page/words"),
    *("features/guidance/course", "features/guidance/directions"),
    *("features/pointing/labels", "features/pointing/ring"),
]


class Tags(HTMLParser):
    """All start tags with their attributes, and what stands inside script and style elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.inline = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.inline += data.strip()


TAGS = Tags(HTML).tags


@functools.cache
def code(path: Path) -> str:
    """A module without its comments."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"(?m)(^|\s)//.*$", "", text)


def named(path: Path) -> str:
    """A module as the tests name it: its path below client/."""
    return path.relative_to(CLIENT).as_posix()


def imports(path: Path) -> Iterator[tuple[list[str], Path]]:
    """The names that a module imports with its own start, and from where."""
    for names, where in re.findall(r'import\s*\{([^}]*)\}\s*from\s*"([^"]+)"', code(path)):
        assert where.startswith(("./", "../")), where
        found = (path.parent / where).resolve()
        yield [name.strip() for name in names.split(",") if name.strip()], found


def parts(path: Path) -> set[str]:
    """The modules that it fetches later."""
    found = re.findall(r'\bimport\("([^"]+)"\)', code(path))
    return {named((path.parent / where).resolve()) for where in found}


def closure(*names: str, but: Collection[str] = ()) -> set[str]:
    """The modules of these names with all that they import, up to those that do not count."""
    reached, waiting = set(names), list(names)
    while waiting:
        for _, other in imports(CLIENT / waiting.pop()):
            if named(other) not in reached and named(other) not in but:
                reached.add(named(other))
                waiting.append(named(other))
    return reached


def modules(patterns: list[str]) -> set[str]:
    """The names of the modules that the patterns stand for."""
    found: set[str] = set()
    for pattern in patterns:
        some = {named(path) for path in CLIENT.glob(f"{pattern}.js")}
        assert some, f"{pattern} is no module"
        found |= some
    return found


def test_nothing_inline() -> None:
    """The strict content security policy allows no script, style or handler inside the HTML."""
    assert Tags(HTML).inline == ""
    for tag, attributes in TAGS:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not [value for value in attributes.values() if value.startswith("javascript:")]


def test_no_way_to_choose_a_file() -> None:
    """Only the live camera gets in: there is no file input, and no module makes one or takes a
    dropped file.
    """
    assert not [a for tag, a in TAGS if tag == "input" and a.get("type") == "file"]
    for path in MODULES:
        for word in ("showOpenFilePicker", "FileReader", "dataTransfer", '"file"', "'file'"):
            assert word not in code(path), f"{path.name} has {word}"


def test_references_are_own_files() -> None:
    """Every src and href names a file below /client/ that is there, the authority's certificate
    aside.
    """
    references = [a[key] for _, a in TAGS for key in ("src", "href") if a.get(key)]
    assert "/client/client.js" in references
    sheets = [a["href"] for tag, a in TAGS if tag == "link" and a.get("rel") == "stylesheet"]
    own = dict.fromkeys(one for one in sheets if "/join/" not in one)
    assert sorted(own) == sorted(f"/client/{name}" for name in SHEETS)
    for reference in set(references) - {"/ca.crt"}:
        assert reference.startswith("/client/"), reference
        assert (CLIENT / reference.removeprefix("/client/")).is_file(), reference


def test_no_other_hosts() -> None:
    """No file of the page names another host, and no style sheet fetches anything."""
    for path in FILES:
        if path.suffix == ".png":
            continue
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"(?:https?:|wss?:)?//(?:[\w-]+\.)+[a-z]{2,}", text), named(path)
        if path.suffix == ".css":
            assert "url(" not in text, named(path)
            assert "@import" not in text, named(path)


def test_text_stays_text() -> None:
    """Answers and errors come from outside: nothing turns text into markup, code or style
    attributes.
    """
    words = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        'setAttribute("style"',
        "createContextualFragment",
        "DOMParser",
    )
    assert [(named(path), word) for path in MODULES for word in words if word in code(path)] == []
    # It reads elements from files of this server, and from nothing else.
    readers = [named(path) for path in MODULES if "XMLHttpRequest" in code(path)]
    assert readers == ["core/page/part.js"]


def test_no_troublesome_habits() -> None:
    """The camera is never darkened instead of slowed down, nobody is asked by alert boxes, nothing
    but a wish goes into a store.
    """
    for path in MODULES:
        name, text = named(path), code(path)
        assert ".enabled = false" not in text, name
        assert "createDataChannel" not in text, name
        # The report writes down which browser it was, and a consent names its maker; nothing is decided by it.
        names = ("core/doctor/report.js", "features/voice_in/index.js")
        assert "userAgent" not in text or name in names, name
        for store in ("document.cookie", "cookieStore", "indexedDB", "window.name"):
            assert store not in text, name
        # The settings stay on the device, and nothing of anybody. boot.js reads them before all else.
        assert ("localStorage" in text) == (name in ("boot.js", "core/page/settings.js")), name
        assert "localStorage.setItem" not in text or name == "core/page/settings.js", name
        # The page's own files, and nothing else: tests/browser/test_page_app.py.
        keeps = re.search(r"\b(?:caches|navigator\.storage)\.", text) is not None
        assert keeps == (name == SERVICE_WORKER), name
        # That of an event asks whether to install the page.
        assert not re.search(r"(?<!event\.)\b(alert|confirm|prompt)\(", text), name
        assert "sessionStorage" not in text or path.name == "composer.js", name


def test_no_line_is_long() -> None:
    """Beside tables of words and of patterns."""
    files = [path for path in MODULES if named(path) != "languages/en.js"] + list(
        CLIENT.rglob("*.css")
    )
    pattern = re.compile(r"\s*(?:const [A-Z]+ = )?/.+/[a-z]*[,;]")
    long = [
        f"{named(path)}:{at}"
        for path in files
        for at, line in enumerate(path.read_text("utf-8").split("\n"), 1)
        if len(line) > 120 and not pattern.fullmatch(line)
    ]
    assert long == []


def test_imports_resolve() -> None:
    """Each import names a file beside the module and something that this file exports."""
    for path in MODULES:
        for names, other in imports(path):
            where = other.relative_to(CLIENT)
            assert other.is_file(), f"{path.name} imports {where}"
            for name in names:
                declared = rf"export (?:async )?(?:const|let|class|function) {re.escape(name.split(' as ')[0])}\b"
                assert re.search(declared, code(other)), f"{where} exports no {name}"


def test_no_module_is_left_over() -> None:
    """Every module is reached from client.js or a part that it fetches, but the one script that
    stands alone.
    """
    scripts = [a["src"].removeprefix("/client/") for tag, a in TAGS if tag == "script"]
    assert sorted(scripts) == ["boot.js", "client.js", JOIN]
    fetched = {part for parts in PARTS.values() for part in parts}
    starts = [*scripts, *fetched, *HEADS, *AFTER, *WORKERS, SERVICE_WORKER]
    assert closure(*starts) == {named(path) for path in MODULES}


def test_workers_are_modules_of_the_page() -> None:
    """Each that a module starts stands in its folder; none is loaded with the page itself."""
    started = {
        named((path.parent / where).resolve())
        for path in MODULES
        for where in re.findall(r'new Worker\(new URL\("([^"]+)", import.meta.url\)', code(path))
    }
    assert started == set(WORKERS)
    assert not closure("client.js") & {*WORKERS}


def test_parts_are_fetched_later_and_the_rest_is_preloaded() -> None:
    """By the module that has a part, by features.js, and by boot.js what comes after all; nothing
    imports a part's own modules otherwise; the page preloads all the others.
    """
    fetched = {named(path): found for path in MODULES if (found := parts(path))}
    assert fetched == {**PARTS, "boot.js": set(AFTER)}
    pages, operators = re.findall(r"= \[(.+?)\];", code(CLIENT / "features.js"), re.S)
    listed = {f"features/{one}/index.js" for one in re.findall(r'"(\w+)"', pages)}
    listed |= {f"features/{one}/operator.js" for one in re.findall(r'"(\w+)"', operators)}
    assert listed == HEADS
    first = closure("client.js")
    later = {part for parts in PARTS.values() for part in parts} | HEADS | {*AFTER}
    assert not first & {*SHARED, *later}
    operator = closure("core/operator/panel.js")
    for part in later:
        own = closure(part) - first - SHARED | {part}
        own -= operator if part.endswith("/operator.js") else set()
        assert {owner(name) for name in own} == {owner(part)}, part
    links = [a["href"] for tag, a in TAGS if tag == "link" and a.get("rel") == "modulepreload"]
    assert links == [f"/client/{name}" for name in sorted(first - {"client.js"})]


def test_sheets_and_elements_belong_to_a_part() -> None:
    """Each style sheet and each file of elements, besides the page's own, is named by a module."""
    found = {named(p) for p in FILES if p.suffix in (".css", ".html")} - {"index.html", *SHEETS}
    found -= {"features/cameras/join/camera.html", "features/cameras/join/join.css"}
    # Found beside its module, or sent with the core's files
    found -= {named(path) for path in CLIENT.glob("features/*/operator.[ch]*")}
    found -= {named(path) for path in CLIENT.glob("features/*/page.html")}
    wanted = {
        named((path.parent / where).resolve())
        for path in MODULES
        for where in re.findall(r'"(\.{1,2}/[\w./]+\.(?:css|html))"', code(path))
    }
    assert wanted == found


def test_a_first_load_is_small() -> None:
    """In files and bytes, with the English words and without another language."""
    links = {a["href"] for tag, a in TAGS if tag == "link" and a.get("rel") != "apple-touch-icon"}
    sources = {a["src"] for tag, a in TAGS if tag == "script"}
    own = {path for path in links | sources if "/join/" not in path}
    files = [CLIENT / path.removeprefix("/client/") for path in own]
    shell = Shell(CLIENT, tuple(SERVER_FEATURES))
    contents = [shell.read(path) for path in [CLIENT / "index.html", *files]]
    assert len(contents) <= MOST_FILES
    assert sum(map(len, contents)) <= MOST_BYTES
    assert sum(len(gzip.compress(one)) for one in contents) <= MOST_SENT


@pytest.mark.parametrize("path", [*CLIENT.rglob("*.css")], ids=lambda path: path.stem)
def test_a_style_sheet_loses_comments_and_indentation(path: Path) -> None:
    plain = re.sub(r"(?ms)^[ \t]*/\*(?!!).*?\*/", "", path.read_text("utf-8"))
    lines = [line.strip() for line in plain.split("\n")]
    assert strip_comments(path.read_bytes(), ".css").decode().split("\n") == [*filter(None, lines)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_only_comments_are_left_out(path: Path) -> None:
    """Each line of code is served as it is, in its place, and no line of a longer text is taken for a comment."""
    whole = path.read_text("utf-8").split("\n")
    sent = strip_comments(path.read_bytes(), path.suffix).decode().split("\n")
    assert len(sent) == len(whole)
    ticks, inside = 0, False
    for line, kept in zip(whole, sent, strict=True):
        if kept == line:
            # Not those in strings and patterns
            ticks += re.sub(
                r'= /.+/[a-z]*;|\[[^\]]*\]|"(?:[^"\\]|\\.)*"|\\.|/`\+/', "", line
            ).count("`")
            assert not inside
            continue
        assert kept == ""
        assert ticks % 2 == 0, line
        text = line.strip()
        inside = inside or text.startswith("/*")
        assert inside or text.startswith("//")
        inside = inside and not text.endswith("*/")


def test_what_is_left_out_of_what_is_served() -> None:
    text = b"// gone\nlet a = 1; // stays\n  /** gone\n   * gone */\n/** @type {X} */ (a);\n/*! stays */\n`\nb`;\n"
    sent = b"\nlet a = 1; // stays\n\n\n/** @type {X} */ (a);\n/*! stays */\n`\nb`;\n"
    assert strip_comments(text, ".js") == sent
    assert strip_comments(text, ".html") == text
    assert strip_comments(b"a {\n  /* gone */\n  margin: 0;\n}\n", ".css") == b"a {\nmargin: 0;\n}"
    assert strip_comments(b"a {}\n/* gone\n*/ b {}\n", ".css") == b"a {}\n b {}"


def owner(name: str) -> tuple[str, str]:
    """The part of the page to which a file belongs, and its folder there."""
    top, _, rest = name.rpartition("/")[0].partition("/")
    if top == "features":
        return f"features/{rest.partition('/')[0]}", ""
    return top, rest


def test_the_words_of_a_first_load_are_those_it_uses() -> None:
    """Those of parts, and of the server, come later: `Part` and other languages wait for them."""
    modules = closure("client.js") - {"languages/en.js"}
    used = set(re.findall(r'["`]([a-z]+\.\w+)["`]', "".join(code(CLIENT / one) for one in modules)))
    html = (CLIENT / "index.html").read_text("utf-8")
    used |= {*re.findall(r'data-question="([^"]*)"', html)}
    assert {*first()} == used & {*table()}


def test_the_core_knows_no_feature() -> None:
    """Also in the comments that give types: a feature knows the core and itself, and the core's
    folders import down.
    """
    floors = {folder: floor for floor, line in enumerate(CORE) for folder in line}
    owners = [owner(named(path)) for path in MODULES]
    assert {folder for part, folder in owners if part == "core"} == set(floors)
    for path in MODULES:
        own, folder = owner(named(path))
        text = path.read_text(encoding="utf-8")
        for where in re.findall(r'(?:from |import\()"([^"]+)"', text):
            other = named((path.parent / where).resolve())
            assert (CLIENT / other).is_file(), f"{named(path)} names {where}"
            part, below = owner(other)
            known = own == "" or part in (own, "core", "languages")
            assert known, f"{named(path)} knows {other}"
            assert own != "core" or part != "", f"{named(path)} knows {other}"
            if own == part == "core":
                assert folder == below or floors[below] < floors[folder], named(path)
        if own in ("", "core") and path.name != "features.js":
            # A kind of answer and an engine have a feature's name, and what an engine does beside answers.
            same = {
                "describe",
                "builtin",
                *(["watches"] if path.name == "enginewords.js" else []),
            }
            names = {*re.findall(r'"(\w+)"', code(path))} & FEATURES - same
            assert names == set(), f"{named(path)} names {names}"


def test_the_core_knows_no_element_of_a_feature() -> None:
    """No script, style sheet or label of the core names one; each stands in a place that is there, in its own file."""
    html = {path: path.read_text("utf-8") for path in CLIENT.rglob("*.html")}
    places = re.findall(
        r'<template data-place="([a-z-]+)"></template>',
        "".join(text for path, text in html.items() if owner(named(path))[0] in ("", "core")),
    )
    assert len(places) == len({*places})
    ids: dict[str, str] = {}
    for path in CLIENT.glob("features/*/page.html"):
        pieces = re.split(
            r'\s*<template data-place="([a-z-]+)">.*?</template>\s*', html[path], flags=re.S
        )
        assert not "".join(pieces[::2]), f"{named(path)} has more than pieces for places"
        assert {*pieces[1::2]} <= {*places}, named(path)
        ids |= {a["id"]: path.parent.name for _, a in Tags(html[path]).tags if "id" in a}
    assert len(ids) > 20
    for path in (path for path in FILES if path.suffix in (".js", ".css", ".html")):
        part = owner(named(path))[0]
        text = code(path)
        named_here = set(re.findall(r'byId\("([^"]+)"', text))
        if path.suffix == ".css":
            named_here = set(re.findall(r"#([a-z][\w-]*)", text))
        if path.suffix == ".html":
            named_here = {
                a.get(key, "") for _, a in Tags(text).tags for key in ("for", "aria-controls")
            }
        for id in named_here & ids.keys():
            assert part == f"features/{ids[id]}", f"{named(path)} names {id} of {ids[id]}"


def test_the_picture_plays_on_an_iphone() -> None:
    """Safari plays a camera's picture in the page, and by itself, only so."""
    videos = [a for tag, a in TAGS if tag == "video" and "controls" not in a]
    assert videos
    assert all({"autoplay", "playsinline", "muted"} <= video.keys() for video in videos)


def test_connection_and_page_are_apart() -> None:
    """Connection modules know no page, and page modules no connection; a few join the two."""
    words = ("fetch(", "WebSocket(", "RTCPeerConnection(", "getUserMedia(")
    shows = {named(path) for path in MODULES if "document." in code(path)}
    carries = {named(path) for path in MODULES if any(word in code(path) for word in words)}
    joins = modules(JOINS)
    for path in MODULES:
        if (name := named(path)) not in joins:
            reached = closure(name, but=joins)
            assert not (reached & shows and reached & carries), (name, reached)
    assert not closure(*modules(PURE)) & (shows | carries)
    assert not closure(*WORKERS) & shows


def test_ids_are_there() -> None:
    """Each element that a module looks up by its id, and each that another refers to, is on the
    page exactly once.
    """
    ids = [a["id"] for _, a in TAGS if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = {i for path in MODULES for i in re.findall(r'byId\("([^"]+)"', code(path))}
    for _, attributes in TAGS:
        for key in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
            wanted.update(attributes.get(key, "").split())
    assert wanted
    assert wanted <= set(ids)


def test_every_control_has_a_name() -> None:
    """A button is named by its text or by aria-label, so a screen reader never says just "button"."""
    for attributes, inside in re.findall(r"<button([^>]*)>(.*?)</button>", HTML, flags=re.DOTALL):
        text = re.sub(r"<[^>]+>", "", inside).strip()
        assert text or "aria-label=" in attributes or 'id="notice-action"' in attributes, attributes
    labelled = {a["for"] for tag, a in TAGS if tag == "label" and "for" in a}
    inside_label = {"zoom"}
    for tag, attributes in TAGS:
        if tag in ("input", "textarea") and "hidden" not in attributes:
            assert attributes["id"] in labelled | inside_label


def test_types_of_messages_are_there() -> None:
    """Each that a comment takes from the file of `python -m tools.references`. Interfaces of one name
    are one to TypeScript: only the settings are meant so.
    """
    types = (CLIENT / TYPES).read_text(encoding="utf-8")
    declared = re.findall(r"export (?:interface|type) (\w+)", types)
    assert {name for name in declared if declared.count(name) > 1} == {"Settings"}
    for path in MODULES:
        wanted = re.findall(r'messages\.d\.ts"\)\.(\w+)', path.read_text(encoding="utf-8"))
        assert set(wanted) <= set(declared), named(path)


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of #rrggbb, 0 to 1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def colours() -> dict[str, dict[str, str]]:
    """The tokens that are colours, light and dark."""
    found = re.findall(
        r"--([\w-]+): (?:light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)|(#[0-9a-f]{6}));", CSS
    )
    assert len(found) > 20
    return {
        "light": {name: light or one for name, light, _, one in found},
        "dark": {name: dark or one for name, _, dark, one in found},
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str) -> None:
    """Text reaches 4.5 to 1 and the edge of a control 3 to 1 on every ground it stands on (WCAG 2.2
    AA).
    """
    colour = colours()[scheme]
    for text, grounds in {
        "ink": ("surface", "raised", "asked"),
        "muted": ("surface", "raised"),
        "on-accent": ("accent", "accent-hover"),
        "on-amber": ("amber",),
        "bad": ("surface",),
        "warn": ("surface",),
        "on-glass": ("stage",),
    }.items():
        for ground in grounds:
            assert contrast(colour[text], colour[ground]) >= 4.5, f"{text} on {ground}"
    for ground in ("surface", "raised"):
        assert contrast(colour["edge"], colour[ground]) >= 3
        assert contrast(colour["accent"], colour[ground]) >= 3


def test_glass_is_dark_enough_on_a_white_picture() -> None:
    """Text on the camera's picture is readable on any picture, a white wall included."""
    part = re.search(r"--glass: rgb\((\d+) (\d+) (\d+) / ([\d.]+)\)", CSS)
    assert part
    alpha = float(part[4])
    mixed = "#" + "".join(
        f"{round(int(part[at]) * alpha + 255 * (1 - alpha)):02x}" for at in (1, 2, 3)
    )
    assert contrast(colours()["dark"]["on-glass"], mixed) >= 4.5


_PARSE = """
const { readFileSync } = require("node:fs");
const { SourceTextModule } = require("node:vm");
const errors = {};
for (const path of JSON.parse(readFileSync(0))) {
  try { new SourceTextModule(readFileSync(path, "utf8")); } catch (error) { errors[path] = `${error}`; }
}
console.log(JSON.stringify(errors));
"""


def test_syntax() -> None:
    """Node reads every module without an error; without Node, the browser tests find it out."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed; the browser tests load the same modules.")
    done = subprocess.run(
        [node, "--experimental-vm-modules", "--eval", _PARSE],
        input=json.dumps([str(path) for path in MODULES]),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == {}
