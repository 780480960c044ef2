"""In the place of vLLM-Omni: the names that the worker uses, and arrays as a pipeline gives them."""
