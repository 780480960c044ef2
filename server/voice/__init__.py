"""Voice: sound in both directions between a person and the model. Pure: `now` is an argument.

`line.py` joins what a microphone sends and what the page plays, for one session; `player.py` holds
the speech that waits to be sent. `ring.py` keeps the last seconds of sound; `detector.py` finds
speech in it (a model with its licence is in `models/`), `foreground.py` whether it is the person's,
`turns.py` where a turn begins and ends, and `barge_in.py` when it stops an answer. `sentences.py`
cuts an answer into pieces to speak, `spoken.py` turns them into words for a voice, and
`crossfade.py` joins a voice's chunks. Packets and codecs are the business of `rtc/sound/`,
recognisers and voices that of `engines/speech/`.
"""
