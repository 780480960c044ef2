"""What is changed in aiortc and aioice, and why. No other folder imports aioice; each patch has a test that notices when the library changes."""
