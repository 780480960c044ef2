"""llama.cpp's own HTTP server out of the package xllamacpp, with the options of `llama-server` that this project uses.

`python -m server.features.hosting.llama_wheel --model FILE --mmproj FILE`, in an environment that has the package.
LLAMA_API_KEY is the key that it asks for.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import threading

from server.core import core_dumps


def options() -> argparse.ArgumentParser:
    """Return the options, by the names that CommonParams has for them; absent ones keep llama.cpp's default."""
    parser = argparse.ArgumentParser(
        prog="llama-server",
        description="llama.cpp's server out of the package xllamacpp.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    # The package's version ends in llama.cpp's build.
    build = importlib.metadata.version("xllamacpp").rpartition(".")[2]
    parser.add_argument("--version", action="version", version=f"version: {build} (xllamacpp)")
    parser.add_argument("--model", required=True)
    parser.add_argument("--mmproj", default="")
    parser.add_argument("--alias", dest="model_alias", nargs=1)
    parser.add_argument("--host", dest="hostnames", nargs=1)
    for option, name in {
        "--port": "port",
        "--parallel": "n_parallel",
        "--ctx-size": "n_ctx",
        "--threads": "n_threads",
        "--ubatch-size": "n_ubatch",
        "--image-min-tokens": "image_min_tokens",
        "--image-max-tokens": "image_max_tokens",
        "--cache-ram": "cache_ram_mib",
        "--ctx-checkpoints": "n_ctx_checkpoints",
    }.items():
        parser.add_argument(option, dest=name, type=int)
    parser.add_argument("--no-ui", dest="ui", action="store_false")
    parser.add_argument("--offline", action="store_true")
    return parser


def main() -> None:
    given = vars(options().parse_args())
    # After the options, so that --help and --version answer where the library cannot be loaded.
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.mmproj.path = given.pop("model"), given.pop("mmproj")
    if "n_threads" in given:
        params.cpuparams.n_threads = given.pop("n_threads")
    if key := os.environ.get("LLAMA_API_KEY"):
        params.api_keys = [key]
    for name, value in given.items():
        setattr(params, name, value)
    # It answers from threads of its own, 503 while it loads. SIGTERM keeps its default, which ends the process even
    # then: while loading it holds the GIL, and no handler of Python would run.
    _server = xllamacpp.Server(params)
    threading.Event().wait()


if __name__ == "__main__":
    core_dumps.forbid()
    main()
