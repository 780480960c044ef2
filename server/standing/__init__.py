"""Cameras of the house, which need no browser: their list, their connections, their sessions.

`worker/` reads and decodes one camera in a process of its own. Visitors' cameras live in `rtc/`.
"""
