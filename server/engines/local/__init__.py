"""The engine whose model runs in a worker process of this program; `worker` is that process.

`processes` starts and ends the worker; `hosting` chooses the model.
"""
