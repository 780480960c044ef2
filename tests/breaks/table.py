"""All breaks, in the order of SECURITY.md."""

from __future__ import annotations

from tests.breaks.access import ACCESS
from tests.breaks.completions import COMPLETIONS
from tests.breaks.fetched import FETCHED
from tests.breaks.floods import FLOODS
from tests.breaks.model_servers import MODEL_SERVERS
from tests.breaks.models import MODELS
from tests.breaks.mqtt import MQTT
from tests.breaks.operators import OPERATORS
from tests.breaks.programs import PROGRAMS
from tests.breaks.promised import PROMISED
from tests.breaks.standing import STANDING
from tests.breaks.strangers import STRANGERS
from tests.breaks.visitors import VISITORS
from tests.breaks.webhooks import WEBHOOKS

BREAKS = (
    *PROMISED,
    *MODELS,
    *FETCHED,
    *ACCESS,
    *STRANGERS,
    *FLOODS,
    *VISITORS,
    *OPERATORS,
    *MODEL_SERVERS,
    *STANDING,
    *WEBHOOKS,
    *MQTT,
    *PROGRAMS,
    *COMPLETIONS,
)
