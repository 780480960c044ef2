"""Engines, which answer questions: the protocol of an engine, the prompts, and the choice between
engines.

`hosting` starts and stops models.
"""
