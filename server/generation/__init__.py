"""Videos and sound from words: what may be asked, the worker that makes it, the MP4 or WAV, all in
memory.

The operator's routes for it are in `operator`.
"""
