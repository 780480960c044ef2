"""The settings of webhooks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from server.core.feature_settings import FeatureSettings, path
from server.core.setting_text import shown
from server.features.webhooks.webhook_list import Webhook, WebhookList, read_webhooks


class WebhookSettings(FeatureSettings):
    webhooks: Path | None = path("a TOML file with webhooks, as docs/webhooks.md shows")

    def problems(self) -> Iterable[str]:
        path = self.webhooks
        if path is None:
            return []
        try:
            return self._part_problems(path, read_webhooks(path).webhooks)
        except OSError as exc:
            reason = f"which cannot be read ({exc.strerror})"
        except ValueError as exc:
            reason = str(exc)
        return [f"WEBHOOKS is {shown(path)}, {reason}. docs/webhooks.md shows such a file."]

    def _part_problems(self, path: Path, listed: Sequence[Webhook]) -> list[str]:
        """Find authorities and cameras that are named and not there."""
        for one in listed:
            if one.ca and not os.access(one.ca, os.R_OK):
                return [
                    f"WEBHOOKS is {shown(path)}, whose webhook {one.name} has a ca that cannot be read."
                ]
        try:
            known = {one.name for one in self.listed_cameras()}
        except (OSError, ValueError):
            # The cameras' own setting tells of it.
            return []
        named = {name for one in listed for name in one.cameras} - {"*"}
        return [
            f"WEBHOOKS is {shown(path)}, which names the camera {name}. STANDING_CAMERAS has no camera of this name:"
            " correct it in one of the two files."
            for name in sorted(named - known)
        ]

    def webhook_list(self) -> WebhookList:
        """Raises OSError, ValueError."""
        return read_webhooks(self.webhooks) if self.webhooks is not None else WebhookList()


SETTINGS = WebhookSettings
