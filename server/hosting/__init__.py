"""The model that an operator chose: plan, load, run, switch, stop, and what this machine and its vLLM can do.

Known models are in `catalogue`, child processes in `processes`.
"""
