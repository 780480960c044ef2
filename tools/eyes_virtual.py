"""Play clips in virtual time to the detector and the built-in engine: hours of a still scene in minutes.

There is no network and no video coding, and a still scene is checked twice per second. The checks, the rules and
the confirming check are the server's.
"""

from __future__ import annotations

import time
from dataclasses import replace

import av

from server.core.frames import Detail, Frame, Geometry
from server.features.builtin.beside import DetectorAid
from server.features.builtin.detector import ThingFinder
from server.features.builtin.engine import get_pixels
from server.features.builtin.reader import TextReader
from server.features.builtin.watcher import Watcher
from server.features.watches.detecting import (
    LOOK_SECONDS,
    SOON_SECONDS,
    STIRRED_SECONDS,
    DetectionHistory,
)
from server.features.watches.messages import Watch
from server.features.watches.rule import Belief, WatchRules
from server.features.watches.watch_list import crop_region
from server.media.picture.grounding import Box
from server.media.picture.prepare import PicturePreparer
from server.models.base import Capabilities
from server.shared.attention.attention import EarlyCheck
from server.shared.watch_answers import WatchAnswer, read_answers
from tools.eyes_clips import HEIGHT, WIDTH, ClientAlert, Clip, Score

_PIXELS = Capabilities(wants_pixels=True, geometry=Geometry(1, 1, 4096 * 4096))
_BEGIN = 1000.0


class VirtualWatches:
    """Watches of the built-in engine, without a server."""

    def __init__(self) -> None:
        finder = ThingFinder()
        self._beside, self._watcher = DetectorAid(finder), Watcher(TextReader(), finder)
        self._preparer = PicturePreparer((), 512)

    def play(self, clip: Clip) -> Score:
        """Play a clip, and return its score."""
        picture = clip.open()
        rule = WatchRules()
        conditions = {f"w{index}": one for index, one in enumerate(clip.conditions)}
        for name, condition in conditions.items():
            order = Watch(type="watch", id=name, condition=condition, repeat=True, cooldown=0)
            rule.add(name, order, _BEGIN)
        sightings = {name: DetectionHistory() for name in conditions}
        rule.detect(tuple(conditions))
        score, alerts, at = Score(clip.kind), list[ClientAlert](), 0.0
        early, stirred, near = EarlyCheck(), 0.0, None
        while at < clip.seconds:
            now = _BEGIN + at
            image = av.VideoFrame.from_ndarray(picture(at), format="yuv420p")
            frame = Frame(f"f{at}", image, WIDTH, HEIGHT, now, None, now, int(now * 9e4))
            began = time.thread_time()
            if early.wants_look(image, now):
                stirred, near = now, early.where.scaled(frame.width, frame.height)
            early.note_look(image, now)
            shown = self._preparer.make(frame, _PIXELS, Detail.LOW)
            found = self._beside.check_conditions(shown, conditions, int(score.looks), near) or {}
            seen = [answers[0] for answers in found.values() if answers and answers[0].seen]
            place = next((one.where for one in seen if one.where is not None), None)
            if place is not None or now >= stirred + STIRRED_SECONDS:
                near = place
            agreed = {
                name: one
                for name, answers in found.items()
                if answers and (one := sightings[name].take(answers, now)) is not None
            }
            score.looks += 1
            for ask in rule.on_detected(frame.id, agreed, now, 0):
                (name,) = ask.watch_ids
                score.requests += 1
                answers = self._confirm(frame, ask.crop, {name: conditions[name]})
                _, alert = rule.on_answer(ask, answers, now, 0)
                watch = rule.get(name)
                if watch is not None and watch.belief is Belief.HOLDS:
                    sightings[name].confirm()
                else:
                    sightings[name].deny(ask.crop, now)
                arrived = at + time.thread_time() - began
                if alert is not None:
                    alerts.append(ClientAlert(alert.condition, at, arrived))
            score.cpu += time.thread_time() - began
            soon = now < stirred + STIRRED_SECONDS or any(one.open for one in sightings.values())
            at += SOON_SECONDS if soon else LOOK_SECONDS
        score.take(clip.events, alerts, clip.seconds, clip.early)
        return score

    def _confirm(
        self, frame: Frame, crop: Box | None, asked: dict[str, str]
    ) -> dict[str, WatchAnswer]:
        """Return the answer of the built-in engine's confirming check, in pixels of the frame."""
        region = crop_region(crop, frame)
        picture = self._preparer.make(frame, _PIXELS, Detail.HIGH, region=region)
        text = self._watcher.answer("s", picture, get_pixels(picture), asked)
        left, top = (region.left, region.top) if region else (0, 0)
        return {name: _move_box(one, left, top) for name, one in read_answers(text, asked).items()}


def _move_box(answer: WatchAnswer, left: int, top: int) -> WatchAnswer:
    box = answer.where
    return answer if box is None else replace(answer, where=box.moved(left, top))
