"""Shared parts of the tests: running servers, stand-ins (named as such), and generators of input."""
