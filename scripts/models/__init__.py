"""What the scripts for the model's weights and its server share: disk, records, checks, quantisation, vLLM's command line."""
