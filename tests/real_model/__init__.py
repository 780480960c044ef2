"""A real model server for the tests: a tiny Qwen2.5-VL, and `transformers serve` in an environment
of its own.
"""
