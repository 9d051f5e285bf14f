"""How fast both renderers of synthetic heads are: python benchmarks/renderers.py ASSETS [--size 256 512]

Draws the same people from the six canonical cameras with both, each in a process of its own, and prints a
table: seconds to build a person, seconds for its first view (meshes and textures go to the renderer) and for
each of the others, of the clock and of processor time, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from typing import get_args

import numpy as np

from facelift.cameras import canonical_rig
from facelift.choices import RendererName
from facelift.synth.build import build_scene
from facelift.synth.pack import open_assets
from facelift.synth.renderers import open_renderer
from facelift.synth.sampling import sample_person


def stopwatch() -> np.ndarray:
    """Seconds of the clock and of all processors until now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return np.array([time.perf_counter(), used.ru_utime + used.ru_stime])


def table_row(name: str, samples: int, assets: str, size: int, people: int, seed: int) -> str:
    """A row of the table."""
    opened, rig = open_assets(assets), canonical_rig(size)
    spans = []
    with open_renderer(name, samples) as renderer:
        renderer.render(build_scene(sample_person(seed, opened), opened), rig[0])  # to warm up
        for k in range(1, people + 1):
            times = [stopwatch()]
            scene = build_scene(sample_person(seed + k, opened), opened)
            times.append(stopwatch())
            for views in (rig[0], rig[1:]):
                renderer.render(scene, views)
                times.append(stopwatch())
            spans.append(np.diff(times, axis=0))
    build, first, others = np.mean(spans, axis=0)
    later = others / (len(rig) - 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    what = f"{name}, {samples} samples" if name == "cycles" else name
    rate = 1 / later[0]
    return (
        f"| {what} | {size} | {build[0]:.2f} | {first[0]:.3f} | {later[0]:.3f} | {later[1]:.3f} "
        f"| {rate:.2f} | {peak:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("assets", help="MakeHuman's or MPFB's data folder")
    parser.add_argument("--size", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--samples", type=int, nargs="+", default=[8, 16, 32], help="of Cycles")
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=get_args(RendererName), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(table_row(args.only, args.samples[0], args.assets, args.size[0], args.people, args.seed))
        return
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} processors, load before the start {load:.1f}\n")
    print(
        "| renderer | size | build, s | first view, s | later view, s | the same, CPU s | views/s | peak MB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for size in args.size:
        for name, samples in [("opengl", 1)] + [("cycles", n) for n in args.samples]:
            options = {
                "only": name,
                "samples": samples,
                "size": size,
                "people": args.people,
                "seed": args.seed,
            }
            words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
            subprocess.run([sys.executable, __file__, args.assets, *words], check=True)


if __name__ == "__main__":
    main()
