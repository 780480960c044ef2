"""Changes to aiortc and aioice, with their reasons. No other folder imports aioice; each patch has a test that notices when the library changes."""
