"""Read files that a setting or a command names by URL or path, within bounds.

Blocking: call it in a thread. It knows nothing of the server.
"""
