"""What is known of models, where one can run, and the exact command for it. Pure: it reads files and starts nothing."""
