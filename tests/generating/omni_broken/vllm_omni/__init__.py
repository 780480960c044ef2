"""In the place of a vLLM-Omni that is installed and does not load the model, as one without a GPU."""
