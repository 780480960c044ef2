"""A person's speech in one session: from the microphone to questions, and over answers.

Detecting speech and turns is in `voice`, recognisers are in `engines.speech`.
"""
