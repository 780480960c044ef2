"""Engines, which answer questions: the protocol of an engine, the prompts, and the choice between
engines.

How a model is started and stopped is in `hosting`.
"""
