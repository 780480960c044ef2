"""The recent past as one video, with a worker whose Python has torchvision."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from server.models.base import Finished, ShownPicture
from server.models.prompts import make_captions
from tests.features.local_models.test_engine import local, request
from tests.real_model.server import ASK_COLOR, PYTHON
from tests.support.answers import collect
from tests.support.real_vllm import PYTHON as OTHER
from tests.support.real_vllm import with_videos

pytestmark = [pytest.mark.slow]


@cache
def python_with_videos() -> Path | None:
    """Return the Python of .venv-models, or else that of vLLM, which brings torchvision; None without one."""
    for one in (PYTHON, Path(OTHER)):
        try:
            done = subprocess.run(
                [one, "-c", "import torchvision, transformers"],
                capture_output=True,
                timeout=60,
                check=False,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return one
    return None


async def test_two_frames_of_the_past_cost_as_much_as_one_picture(
    random_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model gets all of them, and the picture of now, about which it answers."""
    python = python_with_videos()
    if python is None:
        pytest.skip("transformers reads videos with torchvision, which .venv-models has not")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = shutil.copytree(random_models / "qwen3_vl", tmp_path / "qwen3_vl")
    template = folder / "chat_template.jinja"
    template.write_text(with_videos(template.read_text()))
    engine = local(folder, python=python, own_code=False)
    try:
        await engine.start()
        assert engine.status.capabilities.video
        bare = request(ASK_COLOR, "green", max_tokens=8)
        ages = [(float(age), float(age)) for age in range(80, 0, -10)]
        earlier = tuple(
            ShownPicture(bare.picture, caption, number=number)
            for number, caption in enumerate(make_captions(ages), 1)
        )
        taken: dict[int, int] = {}
        for frames in (4, 6, 8):
            asked = request(ASK_COLOR, "green", max_tokens=8, earlier=earlier[-frames:], video=True)
            pieces, end = await collect(engine, asked)
            assert isinstance(end, Finished)
            assert pieces
            assert not end.video_refused
            taken[frames] = end.usage.prompt_tokens or 0
        pair = bare.picture.visual_tokens
        # With the words for the frames' times
        assert pair <= taken[6] - taken[4] < 1.5 * pair + 40
        assert pair <= taken[8] - taken[6] < 1.5 * pair + 40
    finally:
        await engine.close()
