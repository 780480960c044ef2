"""The composition root: builds the program from the settings.

Only this folder and `main.py` read `config.py`.
"""
