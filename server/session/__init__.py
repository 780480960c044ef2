"""One visitor's session: a question's way from message to answer, the running description, history and the outbox.

`session.py` takes messages, `session_parts.py` builds the parts that do the work, each in a folder of its own.

The queue that decides whose turn it is, is in `queue`; sessions are opened and found in `server/session_manager.py`.
"""
