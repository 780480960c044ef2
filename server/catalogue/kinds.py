"""Kinds of models, and ways to run them. Standard library only: a dry run needs no package."""

from __future__ import annotations

from enum import StrEnum


class ModelType(StrEnum):
    """The purpose of a model; an operation must match it."""

    # Answers questions about pictures
    VISION = "vision"
    # Answers questions about pictures, and hears or speaks
    OMNI = "omni"
    # Text to speech
    SPEECH = "speech"
    # Text to sound or music
    AUDIO = "audio"
    # Text to video, some also picture to video
    VIDEO = "video"


class RunMode(StrEnum):
    """The way in which a model runs."""

    REMOTE = "remote"
    SUBPROCESS = "subprocess"
    CONTAINER = "container"
    IN_PROCESS = "in_process"


class Ability(StrEnum):
    """An ability of a model."""

    IMAGES = "images"
    VIDEO_IN = "video_in"
    AUDIO_IN = "audio_in"
    SPEECH_OUT = "speech_out"
    # Locates things with boxes in the unit `Model.boxes`
    GROUNDING = "grounding"
    TEXT_TO_SPEECH = "text_to_speech"
    TEXT_TO_AUDIO = "text_to_audio"
    TEXT_TO_VIDEO = "text_to_video"
    IMAGE_TO_VIDEO = "image_to_video"


class Library(StrEnum):
    """The library that loads the weights in-process."""

    TRANSFORMERS = "transformers"
    DIFFUSERS = "diffusers"
