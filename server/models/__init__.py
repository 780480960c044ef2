"""Models that answer: the engine interface, the choice between engines, prompts, scheduling.

`openai` is the engine of OpenAI-compatible servers, `scheduler` orders the work. The feature
`hosting` starts and stops models.
"""
