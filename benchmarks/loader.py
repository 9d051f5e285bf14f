"""How many samples a second are read for a training of the paper's size, against a model that does nothing.

    python benchmarks/loader.py data/paper --workers 0 1 2 --samples 60

DATA holds `canonical` and `orbit`, as configs/paper wants them. What was read a moment ago comes from the
system's memory: the figure is that of decoding, not of a disk.
"""

from __future__ import annotations

import argparse
import time
from itertools import count
from pathlib import Path

from facelift.data.reader import HeadFolder
from facelift.train.loader import SampleLoader
from facelift.train.samplers import AnyViews, CommonHeads, SampleMix
from facelift.train.task import generator_for
from facelift.train.view_samples import PlainHeads

BATCH = 4


def rate(load, workers: int, samples: int) -> float:
    """Samples a second, once the workers are busy."""
    loader = SampleLoader(load, workers)
    steps = count()

    def read(number: int) -> float:
        began = time.perf_counter()
        for _ in range(number):
            step = next(steps)
            assert len([*loader(step, BATCH, generator_for(0, step))]) == BATCH
        return time.perf_counter() - began

    read(2 + 2 * workers)  # the workers begin, and fill their queue
    return samples / read(samples // BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--size", type=int, default=512)
    args = parser.parse_args()
    canonical, orbit = (HeadFolder(args.data / rig) for rig in ("canonical", "orbit"))
    heads = CommonHeads(canonical, orbit)
    any_views = AnyViews(heads, 6, 8, args.size, args.size)
    kinds = {
        "views: six of 512": PlainHeads(canonical, args.size, ["white", "grey", "black"]),
        "reconstructor: eight of 512": SampleMix(heads, [], any_views, relit=False).sample,
    }
    for name, load in kinds.items():
        for workers in args.workers:
            print(f"{name}, {workers} workers: {rate(load, workers, args.samples):.1f} samples/s", flush=True)


if __name__ == "__main__":
    main()
