"""Features: each a package with one `register(api)`, which can be left out alone."""
