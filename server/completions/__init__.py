"""OpenAI's chat interface on the live camera: requests read and checked, answers and errors in its form. Pure.

Access is checked in `grants`, and `session/programs` finds the answer; HTTP is in `programs`.
"""
