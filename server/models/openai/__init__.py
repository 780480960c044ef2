"""The engine for OpenAI-compatible servers: requests, streams, thinking, and limits on responses."""
