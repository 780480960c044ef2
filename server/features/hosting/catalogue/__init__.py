"""Known models, the modes in which each can run on a machine, and the command that runs it.

Reads files; starts no program.
"""
