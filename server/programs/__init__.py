"""Other programs that people let look through their cameras, over HTTP: access and questions.

Grants are in `server/grants`; what a look does in its session is in `server/session/programs`.
"""
