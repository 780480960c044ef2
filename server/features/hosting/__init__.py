"""Models that an operator chooses: plan, fetch, load, switch and stop them.

`hosting.py` connects the parts. `manager.py` runs one model at a time; `catalogue/` lists the known
models and builds the command that runs one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Let operators choose, load and stop models, and load LOCAL_MODEL."""
    from server.features.hosting.hosting import PREFIX, Hosting, add_routes
    from server.features.hosting.offer import add_offer_routes

    hosting = Hosting(api)
    api.run("hosting", start=hosting.start, close=hosting.close, last=True)
    api.on_engine_changed(hosting.channel.publish_report)
    api.operator_sockets.parts.append(hosting.channel)
    api.add_session_part(hosting.progress.make_part)
    add_routes(api.make_operator_router(PREFIX), hosting)
    add_offer_routes(api.make_router(), api.services, hosting.offer)
    api.provide(Hosting, hosting)
