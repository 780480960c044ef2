"""Names: no two things of two cameras share one."""

from __future__ import annotations

from server.features.mqtt.discovery import Topics, watch_key


def test_topics_are_different() -> None:
    topics = Topics("p", "homeassistant")
    found = [topics.status, topics.birth]
    for camera in ("status", "look", "a", "a-b"):
        for key in (watch_key("x"), watch_key("y")):
            found += [
                topics.watch(camera, key),
                topics.watch_facts(camera, key),
                topics.evidence(camera, key),
            ]
        for topic in (topics.description(camera), topics.answer(camera)):
            found += [topic, topics.facts(topic)]
        found += [topics.camera(camera), topics.look(camera), topics.config("sensor", camera)]
    assert len(set(found)) == len(found)
    assert not any(letter in topic for topic in found for letter in "+#")


def test_a_watch_is_named_by_its_words() -> None:
    assert watch_key("a dog") == watch_key("a dog") != watch_key("a dog ")
    assert watch_key("+/#").isalnum()
