"""The composition root: builds the parts from the settings and joins them.

Only this folder and `main.py` read `config.py`.
"""
