"""What recognisers and voices share: the clients of speech servers, and the processes of local models.

The features `voice_in` and `voice_out` use them.
"""
