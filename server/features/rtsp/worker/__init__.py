"""One standing camera's process: connects to it, takes its stream apart, decodes what is wanted.

Everything here reads untrusted input. It has no settings and knows one camera.
"""
