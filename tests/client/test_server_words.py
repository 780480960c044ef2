"""The server's sentences in the operator's panel: each has a translation in each language."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.test_words import CODES

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "client"
SERVER = ROOT / "server"
# Where sentences come from that the panel shows, and how many there are at least
SOURCES = {
    "operator/view.py": 4,
    "catalogue/batching.py": 3,
    "catalogue/choice.py": 18,
    "catalogue/command.py": 6,
    "catalogue/containers.py": 2,
    "catalogue/folder.py": 15,
    "catalogue/modes.py": 40,
    "catalogue/vllm.py": 5,
    "catalogue/vllm_log.py": 20,
    "catalogue/weights.py": 18,
    "hosting/engine_slot.py": 5,
    "hosting/host.py": 5,
    "hosting/jobs.py": 2,
    "hosting/lifecycle.py": 10,
    "hosting/manager.py": 4,
    "hosting/model_fetch.py": 5,
    "hosting/planner.py": 1,
    "hosting/server_runtime.py": 20,
    "hosting/vllm_help.py": 5,
    "hosting/vllm_probe.py": 2,
    "engines/openai/bounded_http.py": 3,
    "engines/openai/discovery.py": 11,
    "engines/openai/known_server.py": 3,
    "engines/local/engine.py": 6,
    "engines/local/errors.py": 2,
    "engines/local/worker/__main__.py": 8,
    "engines/local/worker/loading.py": 14,
    "engines/local/worker/weights.py": 2,
    "engines/local/worker_messages.py": 5,
    "engines/speech/local_recogniser.py": 5,
    "engines/speech/local_worker.py": 4,
    "engines/speech/refusals.py": 11,
    "generation/assembly.py": 4,
    "generation/bounds.py": 6,
    "generation/generator.py": 7,
    "generation/job.py": 3,
    "generation/rules.py": 3,
    "generation/runtime.py": 2,
    "generation/videos_api.py": 12,
    "generation/worker/__main__.py": 7,
    "generation/worker/backend.py": 6,
    "generation/worker/omni.py": 1,
    "generation/worker/pipelines.py": 5,
    "generation/worker/speech.py": 3,
    "processes/log_progress.py": 15,
    "processes/process.py": 5,
    "program/speech_parts.py": 1,
    "mqtt/retry.py": 10,
    "standing/standing.py": 19,
    "webhooks/webhooks.py": 8,
}
# Of each source, what no panel shows, by a part of it
NOT_SHOWN = (
    *("{kind.__name__} in ", "no model in {state", "Ask again.", "Ask again in a mom", "list-"),
    *("download_model.sh {model.id}", " --revision", " is no model of the catalogue"),
    # Said to who speaks, and to programs
    *("The local recogniser's process ended while", "The local recogniser failed."),
    *("The local recogniser did not finish",),
    "The end-of-turn model by state",
    *("Cameras of the house by state", "There is no camera of this name", "reader did not close"),
    *("Alarms ", "webhook links", "There is no webhook", "There is no such letter"),
    *("If it stays so", "The answer was not complete", "did not begin to answer within"),
    *("ran out of memory at this question", "in the format that it is computed in"),
    *("It is started again: ask again", "question and the conversation so far"),
    "take a question about a picture. Load another model",
    # What the panel's form does not send, and what the route checks before
    *(
        "begins with a picture, and none",
        "begins with words alone",
        "takes no {what",
        "format is {",
    ),
    *("has no field {_shown", "half a character", "frames is {", "Both seconds and frames"),
    *(
        "characters; at most",
        "allowed is text of",
        "The data type is not one of",
        "The number format is",
    ),
    *("makes sound and no videos", "makes videos and no sound"),
    *("Answers on its standard streams", "answer failed", "Bearer {", "The context is limited to"),
    # For the log and the code alone, and for who sets VLLM_BASE_URL
    *("import importlib", "No package metadata", '"GET /(?:health', "(?i)address already"),
    *(
        "first probe",
        "no list of models",
        "a transport that is",
        "lines were left out",
        "address must be a URL",
    ),
)
# Parts of sentences that stand in a sentence of their own here
PARTS = {
    " ({gigabytes(gpu.free_bytes)} free)": "Some GPU (8.0 GB free)",
    " on the CPU{_slow(model, host, dtype)}": "vLLM 0.30 on the CPU, about 0.3 s a word.",
    "On {where}{_slow(model, host, dtype)}.": "On the GPU.",
    "the CPU": "On the CPU, about 0.3 s a word.",
    "the GPU": "On the GPU.",
    "{model.name} {makes}, for which no server is started here: choose in-process.": "",
    **{
        what: f"Any {what}, for which no server is started here: choose in-process."
        for what in (
            "makes videos",
            "makes sounds",
            "reads texts aloud",
            "answers no questions about pictures",
        )
    },
    " in {dtype}": "It takes about 9.1 GB of memory in float32 and 4.0 GB are free here.",
    **dict.fromkeys(
        (" and ", "The model", "A model", "it says nothing", "the first model that it lists"), ""
    ),
    "the model {name}": "",
    # Parts of sentences about folders and their weights
    " of {clean(base)}": "",
    " and {len(lost) - 5} more": "/m lacks a, b and 3 more of 9 files with weights.",
    # What the fields of a choice have beside their descriptions
    **dict.fromkeys(("Value error, ", "no name", "no key", "no image", "no URL"), ""),
    # For a choice that is no object, which the panel never sends
    "The choice is unusable: {message}.": "",
    "status {done.returncode}": "`vllm serve --help` failed: status 1. Is vLLM installed whole?",
    "`{shown}` failed: {said[-1][:200] if said else f'status {done.returncode}'}. Is vLLM installed whole?": "",
    "{self._server} {why or f'sent something that is no answer of {self.path}'}. Check {self._settings}_BASE_URL.": "",
    "sent something that is no answer of {self.path}": "The speech server at X sent something that is no answer of Y. Check Z_BASE_URL.",
    "The {what} at {address}": "The transcription server at X took too long.",
    # About memory, and a model that does not answer
    "{sentence} Download it again, or choose another model.": "Download it again, or choose another model.",
    "{_damaged(folder)} Download it again.": "Download it again.",
    "{why} Choose another one, or another number format.": "The model was loaded and does not answer (X):"
    " Y. Choose another one, or another number format.",
    "The model was loaded and does not answer ({type(error).__name__}): {loading.shortened(str(error))}": "",
    "The model has no chat template, so it was not made to answer questions.": "The model has no chat template,"
    " so it was not made to answer questions. Choose another one, or another number format.",
    "There was not enough memory{where}. Ask for something smaller or shorter, or load the model in a 16-bit data type; one that makes videos also with VAE tiling or offloaded to main memory.": "There was not enough memory for this."
    " Ask for something smaller or shorter, or load the model in a 16-bit data type; one that makes videos"
    " also with VAE tiling or offloaded to main memory.",
    " to load the model": "There was not enough memory to load the model.",
    " for this": "There was not enough memory for this.",
    # What is being made
    "A {now.kind or 'video'} is being made{done}; one at a time is allowed. Wait for it, or cancel it.": "A sound is being"
    " made; one at a time is allowed. Wait for it, or cancel it.",
    " (step {now.step} of {now.steps})": "A video is being made (step 1 of 9); one at a time is allowed. Wait"
    " for it, or cancel it.",
    # The length of a video
    "{seconds} s at {fps} frames/s are {seconds * fps} frames; allowed are 1 to {most}. Ask for {instead}.": "",
    "{most / fps} s at most, or for fewer frames a second": "9 s at 60 frames/s are 540 frames; allowed"
    " are 1 to 81. Ask for 1.4 s at most, or for fewer frames a second.",
    "{1 / fps} s at least": "0.01 s at 16 frames/s are 0.16 frames; allowed are 1 to 81. Ask for 0.063 s at least.",
    # How something ended
    "signal {-status}": "The local model's process ended (signal 64). Load it again, or a smaller one.",
    "{name}, perhaps for lack of memory": "The local model's process ended (SIGKILL, perhaps for lack of"
    " memory). Load it again, or a smaller one.",
    "is gone.": "X is gone.",
    "was ended by {signal.Signals(status - _BY_SIGNAL).name}": "X was ended by SIGKILL. Its log says more.",
    "was ended by {signal.Signals(-self.status).name}": "X was ended by SIGKILL. Its log says more.",
    "was ended by signal {-self.status}": "X was ended by signal 64. Its log says more.",
    "ended with status {self.status}": "X ended with status 1. Its log says more.",
    " (now {choice.context})": "",
}
# Patterns of logs stand beside the sentences there.
LOGS = ("catalogue/vllm_log.py", "processes/log_progress.py")
# Other parts of sentences stand beside them there: each is a value above.
WORKERS = ("engines/local/engine", "engines/local/errors", "engines/local/worker/", "generation/")
# What stands in a sentence; any name where it is not told here
VALUES = {
    "gpu": ("", " No single GPU has that much free."),
    "host.vllm_trouble": ("No GPU was found.",),
    "what": ("the model X", "the first model that it lists"),
    "why": ("No GPU was found.",),
    "again": ("", " It is started again."),
    "process.how_it_ended()": ("ended with status 1", "was ended by SIGKILL"),
    "self._again": ("Start the server again.",),
    "self._name": ("recogniser", "voice"),
    "self._silence": ("It is started again if it stays so; an operator can start another model.",),
    "AGAIN": ("Download it again: bash scripts/download_model.sh",),
    "LLAMA_CPP": (
        "Start its server (llama-server -m MODEL --mmproj PROJECTOR) and choose remote, or take the model's"
        " release with safetensors.",
    ),
    "begin": ("There are no weights in X: neither Y nor an index of its parts.",),
    "of": ("", " of X"),
    "inside": ("", ": /X"),
    "unit": ("",),
    "message": ("No GPU was found.",),
    "error.message": ("No GPU was found.",),
    "status.detail": ("No GPU was found.",),
    "said or 'Its log says more.'": ("Its log says more.",),
    "_TRY": ("Choose another way to run it, another precision, or another model.",),
    "self._known_reason() or unknown": ("Its log says more.",),
    "vllm_log.NO_GPU": ("",),
    "hint": ("", " With MODEL_NAME set, its list of models is not needed."),
    "_INSTEAD": ("Run the model in-process.",),
    "_LESS[self.rules.output]": ("a smaller or shorter video", "something shorter"),
    "self.how_it_ended()": (
        "ended with status 1",
        "was ended by signal 9",
        "was ended, because it did not stop cancelled work",
    ),
    "self.generator.how_it_ended()": (
        "X ended with status 1",
        "X was ended by signal 9",
        "X was ended, because it did not stop cancelled work",
    ),
    "less": (
        "load it with VAE tiling or offloaded to main memory, or ask for a smaller or shorter video",
        "load it in a 16-bit data type, or ask for something shorter",
    ),
    "how": ("", " (status 500)"),
    "instead": ("smaller or shorter one", "shorter one"),
    "during": ("", " while it loaded"),
    "there": ("", ", and the GPU has 3.0 GB free", ", and this machine has 3.0 GB free"),
    "_in(dtype)": ("",),
    "_maybe(model)": ("",),
}


def _sentences(path: Path) -> Iterator[str]:
    """The sentences of a module, with the code of their values between braces."""
    tree = ast.parse(path.read_text("utf-8"))
    left: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if isinstance(node.body[0], ast.Expr):
                left.add(id(node.body[0].value))
        elif isinstance(node, ast.Call) and re.match(r"log\.|RuntimeError", ast.unparse(node.func)):
            left |= {id(one) for one in ast.walk(node)}
        elif isinstance(node, ast.JoinedStr):
            left |= {id(one) for one in node.values}
            for value in node.values:
                if isinstance(value, ast.FormattedValue) and value.format_spec:
                    left |= {id(one) for one in ast.walk(value.format_spec)}
    for node in ast.walk(tree):
        if id(node) in left:
            continue
        words = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value
        elif isinstance(node, ast.JoinedStr):
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    words += f"{{{ast.unparse(part.value)}}}"
                elif isinstance(part, ast.Constant):
                    words += str(part.value)
        if " " in words and re.search(r"[a-z]{2}", re.sub(r"\{.*?\}", "", words)):
            yield words


def _filled(template: str) -> Iterator[str]:
    """The sentence with each of the values that it may have."""
    found = re.findall(r"\{(.*?)\}", template)
    ways = [VALUES.get(one, (f"X{at}",)) for at, one in enumerate(found)]
    for values in itertools.product(*ways):
        filled = template
        for one in values:
            before, _, rest = filled.partition("{")
            filled = before + one + rest.partition("}")[2]
        yield filled.strip()


def _phases() -> set[str]:
    """The names of the steps of loading."""
    told = (SERVER / "processes/log_progress.py").read_text("utf-8")
    vllm = (SERVER / "catalogue/vllm_log.py").read_text("utf-8")
    found = set(re.findall(r'^        \(r"[^"]*", "([a-z\' ]+)"\),$', told + vllm, re.M))
    assert len(found) >= 10, found
    # As they stand in the code
    others = {"fetching the image", "loading weights", "fetching files", "starting"}
    assert [one for one in others if f'"{one}"' not in told] == []
    return found | others


def _said() -> set[str]:
    """All that the server says in the panel."""
    found = _phases()
    for name, least in SOURCES.items():
        templates = [
            one for one in _sentences(SERVER / name) if not any(part in one for part in NOT_SHOWN)
        ]
        if name in LOGS or name.startswith(WORKERS):
            ends = re.compile(r"(\.|--help|\.txt|\} ?)$")
            templates = [one for one in templates if one in PARTS or ends.search(one.strip())]
        assert len(templates) >= least, name
        for one in templates:
            found |= {PARTS[one]} if one in PARTS else {*_filled(one)}
    models = tomllib.loads((SERVER / "catalogue/models.toml").read_text("utf-8"))["model"]
    notes = {sentence for one in models for sentence in re.split(r"(?<=\.) ", one["note"])}
    # The reasons in brackets why no GPU was found
    reader = (SERVER / "core/gpu.py").read_text("utf-8")
    reasons = {"it is not installed", "it lists no GPU", "the driver runs and has no GPU"}
    assert [one for one in reasons if f'GpuError("{one}")' not in reader] == []
    of_nvidia = "the driver runs and has no GPU"
    found |= {f"{tool}: {one}" for tool in ("amd-smi", "rocm-smi") for one in reasons - {of_nvidia}}
    found.add(f"NVIDIA: {of_nvidia}")
    # A height in pixels
    return (found | {note for note in notes if not re.fullmatch(r"\d+p\.", note)}) - {""}


def _table(code: str) -> dict[str, str]:
    table: dict[str, str] = json.loads((CLIENT / "operator" / f"{code}.json").read_text("utf-8"))
    return table


def _in_node(tmp_path: Path, code: str, sentences: list[str]) -> Any:
    """Translate sentences as the panel does: a list of [words, language]."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    shutil.copytree(CLIENT, tmp_path / "client")
    (tmp_path / "given.json").write_text(json.dumps([_table(code), sentences]), encoding="utf-8")
    (tmp_path / "main.js").write_text(
        f"""import {{ readFileSync }} from "node:fs";
import {{ use }} from "./client/words/text.js";
import {{ said, tongue, useServerWords }} from "./client/operator/serverwords.js";
const [table, sentences] = JSON.parse(readFileSync("given.json", "utf8"));
use("{code}", {{}});
useServerWords(table);
console.log(JSON.stringify(sentences.map((one) => [said(one), tongue(one)])));
""",
        encoding="utf-8",
    )
    done = subprocess.run(
        ["node", "main.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_sentence_of_the_server_has_words(tmp_path: Path) -> None:
    """One that is new, or written anew, needs its translations."""
    sentences = sorted(_said())
    assert len(sentences) > 150
    found = _in_node(tmp_path, "de", sentences)
    assert [one for one, (_, tongue) in zip(sentences, found, strict=True) if tongue != "de"] == []


@pytest.mark.parametrize("code", CODES[1:])
def test_each_language_has_the_same_sentences(code: str) -> None:
    """With the same values, and with the names of settings and commands as they are."""
    table, german = _table(code), _table("de")
    assert [*table] == [*german]
    for english, words in table.items():
        assert sorted(re.findall(r"\{\w+\}", words)) == sorted(re.findall(r"\{\w+\}", english))
        assert words.strip()
        assert not re.search(r"<[a-z/]", words)
        for name in re.findall(r"[A-Z]{2,}_[A-Z_]+|scripts/\w+|--[a-z]+|/dev/\w+", english):
            assert name in words, english


def test_whole_reports_are_in_the_pages_language(tmp_path: Path) -> None:
    """Several sentences, values with sizes, and what nobody has translated stays as it is."""
    found = _in_node(
        tmp_path,
        "de",
        [
            "This machine: No GPU; 3.5 GB of 8.0 GB of memory free.",
            "This machine: NVIDIA H200 (12.0 GB free); in systemd's sandbox.",
            "Its files (2.0 GB) are not on this machine. Fetch them: bash scripts/run.sh --model small",
            "No GPU was found. /usr/bin/vllm needs one: only vLLM's build for the CPU runs without.",
            "Nobody knows this. Choose in-process.",
            "docker is installed and cannot be used: This user may not use it.",
            "Qwen3-VL 2B ended with status 1. It is started again.",
            "starting again in 4 s (1 of 3)",
            "There are no weights in /m: neither model.safetensors nor an index of its parts. a.safetensors is there, but its"
            " index is missing (model.safetensors.index.json). Download it again: bash scripts/download_model.sh",
            "gpus is 20; allowed is a whole number from 1 to 16, or left out.",
            "12 answers at a time: the 40 GB that the weights leave hold 12 of 32768 tokens (131,072 bytes a token).",
            "Wan 1.3B was ended by signal 9. Where memory is short, load it in a 16-bit data type, or ask for something shorter.",
            "the first model at 192.0.2.7:8001",
            "Another program has port 8002. End it, or choose another port.",
        ],
    )
    assert found == [
        ["Dieser Rechner: keine GPU; 3,5\xa0GB von 8,0\xa0GB Speicher frei.", "de"],
        ["Dieser Rechner: NVIDIA H200 (12,0\xa0GB frei); in der Sandbox von systemd.", "de"],
        [
            "Seine Dateien (2,0\xa0GB) sind nicht auf diesem Rechner. So werden sie geholt: bash scripts/run.sh --model small",
            "de",
        ],
        [
            "Es wurde keine GPU gefunden. /usr/bin/vllm braucht eine GPU: Ohne sie läuft nur die CPU-Fassung von vLLM.",
            "de",
        ],
        ["Nobody knows this. Wählen Sie „In diesem Programm“.", "en"],
        [
            "docker ist installiert und lässt sich nicht benutzen: Dieser Benutzer darf es nicht verwenden.",
            "de",
        ],
        ["Qwen3-VL 2B endete mit Status 1. Es wird neu gestartet.", "de"],
        ["neuer Start in 4 s (1 von 3)", "de"],
        [
            "In /m sind keine Gewichte: weder model.safetensors noch ein Verzeichnis ihrer Teile. a.safetensors ist da, aber das"
            " Verzeichnis dazu fehlt (model.safetensors.index.json). Laden Sie es noch einmal herunter: bash"
            " scripts/download_model.sh",
            "de",
        ],
        ["gpus ist 20; erlaubt: eine ganze Zahl von 1 bis 16, oder weggelassen.", "de"],
        [
            "12 Antworten gleichzeitig: In die 40\xa0GB, die die Gewichte übrig lassen, passen 12 mit 32.768 Token"
            " (131.072 Bytes je Token).",
            "de",
        ],
        [
            "Wan 1.3B wurde durch Signal 9 beendet. Ist der Speicher knapp, laden Sie es in einem 16-Bit-Format, oder verlangen"
            " Sie etwas Kürzeres.",
            "de",
        ],
        ["das erste Modell unter 192.0.2.7:8001", "de"],
        [
            "Ein anderes Programm hat den Port 8002. Beenden Sie es, oder: wählen Sie einen anderen Port.",
            "de",
        ],
    ]


def test_arabic_runs_from_right_to_left(tmp_path: Path) -> None:
    """Also a sentence that begins with a name; what has no translation runs as English does."""
    found = _in_node(tmp_path, "ar", ["vLLM does not know Foo.", "Nobody knows this."])
    assert found[0] == ["\u200f\u2068vLLM\u2069 لا يعرف \u2068Foo\u2069.", "ar"]
    assert found[1] == ["Nobody knows this.", "en"]


def test_commands_run_from_left_to_right(tmp_path: Path) -> None:
    """With the name at their end; and the space before a size is the sentence's."""
    absent = "Its files (16.0 GB) are not on this machine."
    said = f"{absent} Fetch them: bash scripts/run.sh --model small"
    ((words, _),) = _in_node(tmp_path, "ar", [said])
    assert "ملفاته \u2068(16.0\xa0GB)\u2069 ليست" in words
    assert words.endswith(" \u2066bash scripts/run.sh --model \u2068small\u2069\u2069")


def test_options_keep_their_dashes_in_arabic() -> None:
    """A mark makes them run from left to right: else the dashes stand behind the name."""
    for name in ("languages", "operator"):
        table = json.loads((CLIENT / name / "ar.json").read_text("utf-8"))
        said = [one for one in table.values() if isinstance(one, str)]
        assert [one for one in said if re.search(r"[\u0600-\u06ff]\W{0,3} --[a-z]", one)] == []


def test_parts_stay_apart(tmp_path: Path) -> None:
    """The parts stand in the language's order, with several GPUs, too."""
    said = [
        "This machine: No GPU; 24 GB of 25 GB of memory free.",
        "This machine: A (8.0 GB free), B (9.0 GB free), C; 24 GB of 25 GB of memory free.",
    ]
    first, second = (words for words, _ in _in_node(tmp_path, "ja", said))
    assert first == "このマシン：GPU なし；メモリ 25\xa0GB のうち 24\xa0GB が空き。"
    assert "：A（空き 8.0\xa0GB）, B（空き 9.0\xa0GB）, C；メモリ 25" in second


def test_reasons_in_brackets_are_translated_one_by_one(tmp_path: Path) -> None:
    """Words of other programs stay as they are."""
    said = (
        "No GPU was found (NVIDIA: NVML Shared Library Not Found; amd-smi: it is not installed;"
        " rocm-smi: it is not installed)."
    )
    ((words, tongue),) = _in_node(tmp_path, "de", [said])
    assert tongue == "de"
    assert "NVIDIA: NVML Shared Library Not Found" in words
    assert words.endswith("; amd-smi: nicht installiert; rocm-smi: nicht installiert).")


def test_a_number_and_its_unit_may_be_in_one_line_before(tmp_path: Path) -> None:
    """A model's note is looked up among the page's words first."""
    said = next(one for one in _table("ja") if "2 GB to fetch" in one)
    plain, kept = (
        one for one, _ in _in_node(tmp_path, "ja", [said, said.replace(" GB", "\xa0GB")])
    )
    assert plain == kept
    assert plain != said
