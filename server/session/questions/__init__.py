"""A question's way in one session: its picture, its answer, the places that an answer names, and texts that are read on."""
