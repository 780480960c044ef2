"""A template for new features: counts how often people wave.

It has messages, a setting, a metric, a route, and a button on the page. Try it with FEATURES=all,sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Count waves, and send the number to the person who waved and to operators."""
    # Import here, so that the server does not load a feature that is off.
    from server.features.sample.messages import Wave
    from server.features.sample.session_part import Waving
    from server.features.sample.settings import SampleSettings

    most = SampleSettings.of(api.settings).sample_most_waves
    waves = api.metrics.counter("waves_total", "Times that somebody waved")
    total = 0

    def count_wave() -> None:
        nonlocal total
        total += 1
        waves.inc()

    api.add_session_part(lambda context: Waving(context, most, count_wave), Wave)

    @api.make_operator_router("/api/operator/sample").get("")
    async def wave_count() -> dict[str, int]:
        return {"waves": total}
