"""Programs for those who work on the code; a server runs without them."""
