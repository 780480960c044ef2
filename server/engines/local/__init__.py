"""The engine whose model runs in a worker process of this program; `worker` is that process."""
