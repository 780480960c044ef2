"""Cameras of the house over MQTT: topics, Home Assistant's discovery, what is told, and what is heard.

`link.py` owns the connection; `client.py` alone knows the library, and is imported when MQTT_URL is set.
"""
