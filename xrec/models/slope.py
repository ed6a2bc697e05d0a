"""What is known of a model's gradient with respect to its inputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Slope:
    """Whether explainers may go by a model's input gradients.

    trusted: they may. straight_through: the gradients are those of the same weights in float32, at
    what the rounded model computed (Bengio et al., 2013), and what goes by them is labelled so.
    said: a sentence for people, where there is something to say.
    """

    trusted: bool = True
    straight_through: bool = False
    said: str = ""
