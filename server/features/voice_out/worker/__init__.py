"""Worker process of a local voice: Qwen3-TTS in an environment with the package qwen-tts.

It imports torch and qwen_tts, and only those server modules that need no library except numpy.
`streaming.py` decides when frames are decoded; `qwen3_tts.py` runs the model.
"""
