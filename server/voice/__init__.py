"""Voice: sound in both directions between a person and the model. Pure: `now` is an argument.

`line.py` joins what a microphone sends and what the page plays, for one session; `player.py` holds
the speech that waits to be sent. Packets and codecs are the business of `rtc/sound/`, recognisers
and voices that of `engines/speech/`.
"""
