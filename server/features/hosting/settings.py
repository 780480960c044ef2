"""Settings of the models that this server runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from server.core.setting_text import quote
from server.core.settings import FeatureSettings, flag, path, text

_CATALOGUE = "the path of a file, or empty"


class HostingSettings(FeatureSettings):
    local_model: Path | None = path("a directory with a model's files, ~ being the home directory")
    llama_server: str = text("", "the path or name of llama.cpp's llama-server, or empty")
    trust_remote_code: bool = flag()
    allow_model_downloads: bool = flag()
    catalogue: str = text("", _CATALOGUE)

    def find_errors(self) -> Iterable[str]:
        source = self.catalogue
        if source and not Path(os.path.expanduser(source)).is_file():
            yield (
                f"CATALOGUE is {quote(source)}, but there is no such file. Allowed: {_CATALOGUE}. Empty: the built-in catalogue."
            )
        operators = self.core("operator_token").get_secret_value()
        if self.core("engine") == "local" and self.local_model is None and not operators:
            yield (
                "LOCAL_MODEL is empty, but ENGINE is local. Set LOCAL_MODEL to the folder of a model, or set OPERATOR_TOKEN so that"
                " an operator can choose one, or use ENGINE=auto."
            )

    def find_warnings(self) -> Iterable[str]:
        engine = self.core("engine")
        if self.local_model is not None and engine in ("vllm", "builtin"):
            yield f"LOCAL_MODEL is set but ENGINE is {engine}, so it is not loaded. Set ENGINE to auto or local."


SETTINGS = HostingSettings
