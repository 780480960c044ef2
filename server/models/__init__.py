"""Models that answer: what an engine is, the choice between engines, prompts, and whose turn it is.

`openai` is the engine behind an OpenAI-compatible server, `scheduler` the order of the work. The
feature `hosting` starts and stops models.
"""
