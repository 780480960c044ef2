"""Work of one session that nobody waits for: the running description and the memory of the recent past.

Each piece gets its frames from `background`. Watches are in `watches`.
"""
