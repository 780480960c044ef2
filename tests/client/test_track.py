"""Boxes that go along with the live picture: the tests that Node runs, and the worker in Chromium."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.client.test_modules import browser as browser
from tests.client.test_modules import page as page
from tests.client.test_modules import run

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("tests/client/features/pointing")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules and their tests where Node takes every .js for a module, as the browser does."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    folder = tmp_path_factory.mktemp("track")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    parts = ("features/pointing", "core/page", "core/live", "core/words", "languages")
    for part in (*(Path("client") / part for part in parts), HERE):
        shutil.copytree(ROOT / part, folder / part)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        # Whole sequences of pictures take many seconds.
        pytest.param(path.name, marks=pytest.mark.slow if "sequences" in path.name else [])
        for path in sorted((ROOT / HERE).glob("*.test.mjs"))
    ],
)
def test_in_node(copy: Path, name: str) -> None:
    """Each file says what it tests."""
    done = subprocess.run(
        ["node", "--test", str(HERE / name)],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="module")
async def test_a_box_goes_along_with_a_moving_canvas(page: Page) -> None:
    """In a real worker: a box about a picture of 1.3 s ago is on its object now, stays there, and
    is gone with it.
    """
    found = await run(
        page,
        """
        const {Boxes} = await import("/client/features/pointing/boxes.js");
        const {pageTime} = await import("/client/core/live/api.js");
        const boxes = new Boxes();
        let list = [];
        boxes.on((all) => { list = all; });
        const canvas = new OffscreenCanvas(320, 180);
        const drawn = canvas.getContext("2d", {willReadFrequently: true});
        const luma = new Uint8Array(320 * 180);
        let seed = 1;
        const random = () => (seed = seed * 16807 % 2147483647) / 2147483647;
        const spots = Array.from({length: 500}, () => [random() * 480 - 80, random() * 180, 2 + random() * 12, random() * 255 | 0]);
        const marks = Array.from({length: 40}, () => [random() * 60, random() * 50, 2 + random() * 9, random() * 255 | 0]);
        // The camera pans, and the object goes the other way.
        const draw = (n, there) => {
          const object = [40 + 1.5 * n, 60];
          drawn.fillStyle = "#888";
          drawn.fillRect(0, 0, 320, 180);
          for (const [x, y, r, g] of spots) { drawn.fillStyle = `rgb(${g} ${g} ${g})`; drawn.fillRect(x - n, y, r, r); }
          if (there) for (const [x, y, r, g] of marks) {
            drawn.fillStyle = `rgb(${g} ${g} ${g})`; drawn.fillRect(object[0] + x, object[1] + y, r, r);
          }
          const {data} = drawn.getImageData(0, 0, 320, 180);
          for (let k = 0; k < luma.length; k++) luma[k] = (77 * data[4 * k] + 150 * data[4 * k + 1] + 29 * data[4 * k + 2]) >> 8;
          return [object[0] / 320, object[1] / 180, (object[0] + 69) / 320, (object[1] + 59) / 180];
        };
        const until = async (ready) => { while (!ready()) await later(5); };
        const began = pageTime();
        // A tenth of a second apart by their own times, however long this machine takes.
        const time = (n) => began + 100 * n;
        let n = 0;
        const show = async (there) => {
          const truth = draw(n, there);
          for (let dropped = -1; dropped < boxes.dropped; await later(5)) {
            // Dropped while the worker is behind: again.
            dropped = boxes.dropped;
            boxes.frame(luma, time(n));
          }
          n++;
          return truth;
        };
        const off = ([box], truth) => Math.max(...box.box.map((edge, k) => Math.abs(edge - truth[k]) * (k % 2 ? 180 : 320)));
        const first = await show(true);
        let truth;
        while (n < 14) truth = await show(true);
        boxes.addBox({box: first, capturedAt: time(0), label: "cup"});
        await until(() => list.length === 1 && list[0].at >= time(13));
        const carried = [list[0].state, off(list, truth)];
        while (n < 40) truth = await show(true);
        await until(() => list[0].at >= time(39));
        const stayed = [list[0].state, off(list, truth), list[0].label];
        const after = [];
        while (n < 75) {
          await show(false);
          await until(() => list.length === 0 || list[0].at >= time(n - 1) || list[0].state === "gone");
          after.push(list[0]?.state ?? "");
        }
        boxes.close();
        return {carried, stayed, after, failed: boxes.failed};
        """,
    )
    state, off = found["carried"]
    assert (state, off < 3) == ("shown", True), found
    state, off, label = found["stayed"]
    assert (state, off < 3, label) == ("shown", True, "cup"), found
    assert found["after"][2] != "shown"
    assert "shown" not in found["after"][2:]
    assert "gone" in found["after"]
    assert found["failed"] is False
