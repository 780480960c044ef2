"""A plugin of pytest: workers of xdist begin with the files that take longest.

By itself xdist begins with the files that have most tests. So it ends with those that have one or
two long ones, and the other workers wait for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# Seconds of a usual test, and of one that drives a browser
USUAL = 0.3
PAGE = 4.0
# Seconds of files whose tests are slower or quicker than that. Rough: only the order counts.
LONG: dict[str, float] = {
    "browser/test_page_operator.py": 150.0,
    "browser/test_page_watches.py": 120.0,
    "net/test_relayed.py": 100.0,
    "whole/test_attacks.py": 80.0,
    "whole/test_nothing_kept.py": 60.0,
    "deploy/test_kubernetes_run.py": 60.0,
    "whole/test_soak.py": 50.0,
    "whole/test_router.py": 40.0,
    "whole/test_canary.py": 30.0,
    "whole/test_hostile_network.py": 30.0,
    # In the quick part, while the machine is busy
    "scripts/test_scripts.py": 80.0,
    "scripts/test_start_vllm.py": 60.0,
    "session/test_session.py": 40.0,
    "features/voice_in/test_listening.py": 30.0,
    "web/test_http_protocol.py": 25.0,
    "features/voice_in/test_foreground.py": 25.0,
    "features/hosting/test_manager.py": 25.0,
    "media/test_webrtc_server.py": 25.0,
    "shared/attention/test_gate.py": 25.0,
    "whole/test_loss.py": 22.0,
    "whole/test_watches.py": 22.0,
    "whole/test_engine_trouble.py": 22.0,
    "web/test_ws_protocol.py": 20.0,
    "models/openai/test_engine.py": 20.0,
    "models/openai/test_asking.py": 19.0,
    "media/picture/test_likeness.py": 18.0,
    "scripts/test_download_model.py": 18.0,
    "features/openai_api/test_routes.py": 18.0,
    "features/hosting/test_host.py": 18.0,
    "scripts/test_monitor.py": 17.0,
    "features/generation/test_routes.py": 13.0,
    "features/cameras/test_cameras.py": 12.0,
    "features/local_models/test_bad_models.py": 11.0,
    "features/builtin/test_scenes.py": 11.0,
    "features/cameras/test_stills.py": 11.0,
    # Many tests, and each takes next to nothing
    "project/test_documents.py": 9.0,
    "core/test_redact.py": 5.0,
    "project/test_layers.py": 5.0,
    "client/test_files.py": 5.0,
    "project/test_breaks.py": 5.0,
    "features/builtin/test_language.py": 5.0,
    "models/test_routing.py": 5.0,
}


def name_of(path: Path) -> str:
    """Name a file as LONG does."""
    return path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else path.name


def longest_first(files: Iterable[str]) -> list[str]:
    """Order the files of some tests, of which each test names its own: each once."""
    counts = Counter(files)

    def seconds(name: str) -> float:
        return LONG.get(name, counts[name] * (PAGE if name.startswith("browser/") else USUAL))

    return sorted(counts, key=lambda name: -seconds(name))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep the order that the workers give."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order a worker's tests; those of a file stay together, in their own order."""
    if hasattr(config, "workerinput"):
        places = {
            name: place
            for place, name in enumerate(longest_first(name_of(item.path) for item in items))
        }
        items.sort(key=lambda item: places[name_of(item.path)])
