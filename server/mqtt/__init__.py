"""Cameras of the house over MQTT: topics, Home Assistant's discovery, states that go out, and
orders that come in.

`link.py` owns the connection; `client.py` alone knows the library, and is imported when MQTT_URL is set.
"""
