"""Developers' tools; the server does not need them."""
