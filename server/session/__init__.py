"""One visitor's session: a question's way from message to answer, its history and its outbox.

`session.py` takes messages; features bring further parts (`part.py`). Whose turn it is, is decided
in `models/scheduler`; sessions are opened and found in `server/session_manager.py`.
"""
