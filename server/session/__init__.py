"""One visitor's session: questions from message to answer, history, outbox.

`session.py` handles messages; features add parts (`part.py`). `models/scheduler` orders the work;
`server/session_manager.py` opens and finds sessions.
"""
