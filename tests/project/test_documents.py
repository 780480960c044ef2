"""All that documents quote exists: commands, files, settings, metrics, routes, tests, links."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import config
from server.features.cameras import routes as whip
from server.features.openai_api import routes as chat_routes
from server.web import routes as server_routes
from tests.support.documents import DOCUMENTS, PROMISES, ROOT, anchors, links, quotes, read
from tests.support.programs import ran
from tests.support.promql import complaints

_ENDINGS = "py|sh|js|css|html|md|conf|yml|json|service|txt|toml|example"
_FILE = re.compile(
    rf"(?<![\w:/.@*~-])((?:~?/)?(?:[\w.@-]+/)*[\w@-][\w.@-]*\.(?:{_ENDINGS}))(?![\w/]|\.\w)"
)
_TEST = re.compile(r"^(?:tests/)?((?:\w+/)*test_\w+\.py)?(?:::(test_\w+))?$")
_SETTING = re.compile(r"(?<![\w$/{.-])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?![\w-])")
_ASSIGNED = re.compile(r"^([A-Z][A-Z0-9_]+)=")
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*)")
_ROUTE = re.compile(r"(?<![^\s])(/[\w.-]+(?:/[\w.<>@-]*)*)(?![\w=])")
_UNIT = re.compile(r"\bqwen-(?:vllm|webrtc)(@)?")
# Variables of the environment that are no settings.
VARIABLES = {
    *(
        "SOAK_SECONDS",
        "REAL_VLLM_PYTHON",
        "COMPOSE_PROFILES",
        "LISTEN",
        "PAGE_LISTEN",
        "SPEECH_URL",
        "VLLM_ROCM_USE_AITER",
        "HIP_FORCE_DEV_KERNARG",
        "SAFETENSORS_FAST_GPU",
        "TORCH_BLAS_PREFER_HIPBLASLT",
        "VLLM_ROCM_IMAGE",
        "VLLM_CUDA_IMAGE",
        "HF_TOKEN",
        "HF_ENDPOINT",
        "SSL_CERT_FILE",
        "TURN_PEER",
        "VLLM_MEMORY",
        "VLLM_SHM",
        "NO_COLOR",
        "ENGINE_URL",
        "OLLAMA_CONTEXT_LENGTH",
        "ROUTER_WORKERS",
        "ROUTER_HOST",
    ),
    *("PIP_EXTRA_INDEX_URL", "QWEN_CAMERA_URL", "QWEN_CAMERA_TOKEN"),
    *("OPENAI_BASE_URL", "OPENAI_API_KEY", "SLOW_BROWSER"),
}
# Programs of others, whose options and words are theirs.
OTHERS = {
    *("apt", "certbot", "cp", "curl", "docker", "docker-compose", "echo", "install", "journalctl"),
    *("nginx", "openssl", "pip", "promtool", "pytest", "ray", "redis-cli", "amd-smi", "ss"),
    *("nvidia-smi", "systemctl", "transformers", "ufw", "vllm", "df", "id", "rsync", "git"),
}
READ = (*DOCUMENTS, PROMISES)
# Before the program itself.
BEFORE = {"sudo", "bash", "python", "python3", ".venv/bin/python", "$"}


@functools.cache
def files() -> tuple[str, ...]:
    """Paths of the tree, relative to its root."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    folders = ("server", "client", "scripts", "benchmarks", "deploy", "locks", "tests", "docs")
    for folder in (*folders, "clients", "tools", ".ci"):
        found += [
            path
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and not {"node_modules", "__pycache__"} & set(path.parts)
        ]
    return tuple(str(path.relative_to(ROOT)) for path in found)


@functools.cache
def everything() -> str:
    """The text of the tree without the documents and this test."""
    texts = [
        (ROOT / name).read_text(encoding="utf-8", errors="ignore")
        for name in files()
        if not name.endswith((".md", ".png", ".onnx", "project/test_documents.py"))
    ]
    return "\n".join([*texts, *files()])


@functools.cache
def all_words() -> frozenset[str]:
    """Every word of that text."""
    return frozenset(re.findall(r"\w+", everything()))


@functools.cache
def help_of(script: str) -> str:
    """The help of a script, or of a way of it: its name, and the option behind it."""
    way = ["bash" if script.endswith(".sh") else sys.executable, *script.split()]
    if script.startswith(("benchmarks/", "server/", "tests/")):
        module = script.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
        way = [sys.executable, "-m", module]
    done = ran([*way, "--help"], cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60)
    if "is not installed: run" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.returncode, done.stderr) == (0, ""), f"{script} --help: {done.stderr}"
    return done.stdout


def options(script: str) -> set[str]:
    """The options that a script of ours has, by its own --help and that of a tool that it goes on in."""
    goes_on = {"scripts/benchmark.py": ["tools/eyes_to_alert.py"]}.get(script, [])
    told = "".join(map(help_of, [script, *goes_on]))
    return {*_OPTION.findall(told), "--help"}


def vllm_flags() -> list[set[str]]:
    """Of each version of vLLM whose help was recorded."""
    recorded = sorted((ROOT / "tests" / "vllm_help").glob("*.txt"))
    assert recorded
    return [
        {line.partition("\t")[0] for line in path.read_text().splitlines()} for path in recorded
    ]


def script_of(word: str) -> str | None:
    """The script of ours that a word names, by its path or its name alone; None when it names none."""
    name = word.removeprefix("./").removeprefix("/opt/qwen-camera/")
    for folder in ("", "scripts/", "deploy/"):
        if re.fullmatch(r"(scripts|deploy)/[\w-]+\.(sh|py)", folder + name) and (
            folder + name in files()
        ):
            return folder + name
    return None


@functools.cache
def started() -> tuple[str, ...]:
    """Every script that people start; first the ways of the one that goes on in other programs."""
    ways = ("--simulate", "--voice", "--watch", "--truth")
    names = [name for name in files() if script_of(name) and "--help" in starts(name)]
    return (*(f"scripts/benchmark.py {way}" for way in ways), *names, "benchmarks/__main__.py")


@functools.cache
def is_option(name: str) -> bool:
    """True for an option that one of them has; those whose text has it are asked first."""
    client = (ROOT / "clients/python/src/qwen_camera/command.py").read_text(encoding="utf-8")
    has = {one for one in started() if " " not in one and name in (ROOT / one).read_text("utf-8")}
    asked = sorted(started(), key=lambda one: one not in has)
    return f'"{name}"' in client or any(name in options(one) for one in asked)


def starts(name: str) -> str:
    """ "--help" for a script that has one: a shell script that says so, a Python script with an argument parser."""
    text = (ROOT / name).read_text(encoding="utf-8")
    has = r"ArgumentParser|create_parser\(" if name.endswith(".py") else r"--help \| -h\)"
    return "--help" if re.search(has, text) else ""


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a line, from its program on; nothing of a line that is none."""
    for part in re.split(r"&&|\|\||[|;]", text.partition("  #")[0]):
        words = part.split()
        while words and (words[0] in BEFORE or _ASSIGNED.match(words[0])):
            words.pop(0)
        if words and (words[0] in OTHERS or script_of(words[0]) or words[0] in ("-m", "-c")):
            yield words


def named_files(document: str) -> set[str]:
    return {name for quote in quotes(document) for name in _FILE.findall(quote.text)}


@functools.cache
def routes_text() -> str:
    return "".join(
        Path(str(module.__file__)).read_text() for module in (server_routes, whip, chat_routes)
    )


@functools.cache
def routes() -> frozenset[str]:
    """First parts of the paths that the server knows."""
    return frozenset(re.findall(r'"(/[\w.-]*)', routes_text())) | {"/ws", "/upload"}


@pytest.mark.parametrize("document", READ)
def test_links_lead_somewhere(document: str) -> None:
    """To a file of the tree, and to a heading that it has."""
    for link in links(document):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


@pytest.mark.parametrize("document", READ)
def test_files_are_there(document: str) -> None:
    """In the tree under that path or its end; what is installed elsewhere, named in scripts/ or deploy/; and what the
    document has its reader write.
    """
    text = read(document)[0]
    for name in named_files(document):
        end = name.removeprefix("./").removeprefix("/opt/qwen-camera/")
        inside = any(path == end or path.endswith(f"/{end}") for path in files())
        # A file that one of our programs writes or reads elsewhere occurs in the program's text.
        elsewhere = name.startswith(("/", "~")) or ("/" not in name and name.endswith(".json"))
        written = f"for example `{name}`" in text
        assert inside or written or (elsewhere and name in everything()), name


@functools.cache
def settings() -> frozenset[str]:
    return frozenset(config.get_known_keys())


@pytest.mark.parametrize("document", READ)
def test_settings_exist(document: str) -> None:
    """Each name in capitals is a setting, or a variable of scripts or tests that occurs there."""
    for quote in quotes(document):
        found = {*_SETTING.findall(quote.text), *_ASSIGNED.findall(quote.text)}
        for name in found - settings():
            assert name in VARIABLES, quote.text
            assert name in all_words(), quote.text


@pytest.mark.slow
@pytest.mark.parametrize("document", READ)
def test_commands_and_options_exist(document: str) -> None:
    """A script of ours is given options that its --help lists; options that stand alone belong to one of them, or to
    every vLLM.
    """
    for quote in quotes(document):
        for words in commands(quote.text):
            if script := script_of(words[0]):
                given = {option for word in words[1:] for option in _OPTION.findall(word)}
                assert given <= (options(script) if given else set()), quote.text
            elif words[0] == "vllm":
                given = {option for word in words for option in _OPTION.findall(word)}
                assert all(given - {"--help"} <= flags for flags in vllm_flags()), quote.text
            elif words[0] == "-m" and words[1] not in OTHERS:
                module = words[1].replace(".", "/")
                found = {f"{module}.py", f"{module}/__main__.py"} & set(files())
                assert found, quote.text
                if given := {option for word in words for option in _OPTION.findall(word)}:
                    assert given <= options(*found), quote.text
        if not quote.block and quote.text.startswith("--"):
            given = set(_OPTION.findall(quote.text))
            of_vllm = all(given <= flags for flags in vllm_flags())
            assert of_vllm or all(map(is_option, given)), quote.text


@pytest.mark.parametrize("document", READ)
def test_metrics_exist(document: str) -> None:
    """Each metric that is named is served, with these labels and values."""
    for quote in quotes(document):
        assert complaints(quote.text, whole=True) == [], quote.text


@pytest.mark.parametrize("document", READ)
def test_routes_and_units_exist(document: str) -> None:
    """Paths that begin with a slash are the server's, or named in scripts/ or deploy/; so are systemd's units."""
    for quote in quotes(document):
        if quote.block and not quote.text.isascii():
            continue  # A drawing.
        for path in _ROUTE.findall(quote.text):
            first = "/" + path.split("/")[1]
            installed = path.removeprefix("/opt/qwen-camera/") in files()
            assert installed or first in routes() or path.rstrip("/") in everything(), path
        for at in _UNIT.findall(quote.text):
            assert any(name.endswith(f"{at}.service") for name in files()), quote.text


@pytest.mark.parametrize("document", READ)
def test_tests_exist(document: str) -> None:
    """A promise without its test is none. A test alone belongs to the file named before it."""
    file = ""
    for quote in quotes(document):
        match = _TEST.match(quote.text)
        if match is None or not quote.text:
            continue
        file = match[1] or file
        path = next((ROOT / name for name in files() if name.endswith(f"/{file}")), None)
        assert path is not None, quote.text
        if match[2]:
            assert match[2] in functions(path), quote.text


@functools.cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@functools.cache
def messages() -> str:
    """The text of the tree, with the strings of a sentence on several lines joined."""
    return re.sub(r'"\s*\n\s*f?"', "", everything())


@pytest.mark.parametrize("document", READ)
def test_sentences_are_said(document: str) -> None:
    """A message in “ ” within a table occurs in some source in these words."""
    for sentence in re.findall(r"^\| (“.*?”[^|]*) \|", read(document)[0], re.MULTILINE):
        for words in re.findall("“(.*?)”", sentence):
            assert words in messages(), words


def test_no_document_is_left_out() -> None:
    """List the documents of the tree, without those that tests bring along."""
    written = {name for name in files() if name.endswith(".md") and not name.startswith("tests/")}
    assert written == set(DOCUMENTS)


def test_figures_are_whole() -> None:
    """Each file of figures names its machine and commands that exist, and has every figure of docs/FIGURES.md's table."""
    shown = {path.name: path for path in (ROOT / "docs" / "figures").glob("*.json")}
    assert {Path(link).name for link in links("docs/FIGURES.md") if link.endswith(".json")} == set(
        shown
    )
    for name, path in shown.items():
        found = json.loads(path.read_text(encoding="utf-8"))
        assert {"subject", "machine", "version", "days", "figures"} <= found.keys(), name
        for entry in found["figures"]:
            assert entry.get("rows") or entry.get("notes"), (name, entry["about"])
            command = entry.get("command", "scripts/benchmark.py").removeprefix("python -m ")
            path_of = command.removeprefix("node ").split()[0]
            module = path_of.replace(".", "/")
            places = {path_of, f"{module}.py", f"{module}/__main__.py"}
            assert places & set(files()), (name, command)
    newest = shown["newest.json"].read_text(encoding="utf-8").replace("*", "")
    table = re.findall(r"^\| (?:\d+|–) \|.*", read("docs/FIGURES.md")[0], re.MULTILINE)
    assert len(table) > 12
    for figure in re.findall(r"\d+\.\d+(?: / \d+\.\d+)?", "\n".join(table).replace("*", "")):
        assert figure in newest, figure


def test_enough_is_read() -> None:
    """The documents are read at all: links, commands, settings, tests."""
    every = [quote for document in READ for quote in quotes(document)]
    assert len(every) > 400
    assert sum(len(links(document)) for document in DOCUMENTS) > 40
    assert len([1 for quote in every for _ in commands(quote.text)]) > 15
    assert len([1 for quote in every if _TEST.match(quote.text)]) > 50
    assert len({name for quote in every for name in _SETTING.findall(quote.text)}) > 30
