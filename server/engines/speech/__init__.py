"""Speech: the protocols of recognisers and voices, and the clients of servers that offer them.

The sound's way from and to the page is in `voice`.
"""
