"""Known models, the ways in which each can run on this machine, and the exact command.

Reads files, starts nothing.
"""
