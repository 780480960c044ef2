"""The engine behind an OpenAI-compatible server: requests, streams, models that think, and bounds
on all that such a server sends.
"""
