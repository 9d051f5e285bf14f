"""Stand-ins for people that need no assets: balls whose colours and places hang on their seeds."""

import itertools
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from test_synth_render import scene, sphere

from facelift.synth import dataset, head
from facelift.synth.assets import Assets


class Ball:
    def __init__(self, seed):
        self.seed = seed

    def to_json(self):
        return json.dumps({"seed": self.seed})

    def build(self):
        rng = np.random.default_rng(self.seed)
        return scene(sphere(rng.uniform(-0.2, 0.2, 3), 0.4, color=(*rng.integers(0, 255, 3), 255), steps=12))


STAND_INS = (
    (Assets, "open", lambda folder: SimpleNamespace(has_scans=False)),
    (head, "sample_by_recipe", lambda seed, assets, recipe: Ball(seed)),
    (head, "build_scene", lambda person, assets: person.build()),
)


class BallJob(dataset.Job):
    """A job for worker processes, which keep a record of who filled what.

    None goes on before there are `company` of them: a fast one does not do it all while the others start.
    """

    company = 2

    def __call__(self, unit):
        for thing, name, stand_in in STAND_INS:
            setattr(thing, name, stand_in)
        with (self.stores[0].out / f"worker_{os.getpid()}").open("a") as record:
            record.write(f"{unit.start}\n")
        while len(list(self.stores[0].out.glob("worker_*"))) < self.company:
            time.sleep(0.02)
        return super().__call__(unit)


class ClusterBallJob(BallJob):
    company = 3


def draw_and_die(out: Path, after: int, **how) -> None:
    """Draw balls in a process that is killed, by itself, when it is about to draw one more than `after`."""
    for thing, name, stand_in in STAND_INS:
        setattr(thing, name, stand_in)
    draw, drawn = dataset.HeadRenderer.draw, itertools.count()

    def draw_or_die(*arguments):
        if next(drawn) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(*arguments)

    dataset.HeadRenderer.draw = draw_or_die
    dataset.synthesize(out, "assets", **how)
