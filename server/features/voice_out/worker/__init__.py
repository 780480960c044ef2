"""A voice in a process of its own: Qwen3-TTS in an environment that has the package qwen-tts.

It imports torch and qwen_tts, and of the server only modules that need no library but numpy.
`streaming.py` decides which frames become sound when; `qwen3_tts.py` is the model.
"""
