"""The sets `bench-heads-v1` and `-v2`: people from reserved seeds, path-traced, each under two lights.

    OUT/bench.json                      every parameter, and their SHA-256
    OUT/light_0/head_000976/            images/cam_000.png ..., the six canonical views and then the orbit;
                                        depth/depth_000.png ..., opencv_cameras.json, person.json,
                                        SHA256SUMS

Version 1 has people of recipe 1 under sampled lights; version 2 has people of recipe 2, whose second light is
always a map's.

The parameters are all that a picture depends on, down to each person's nose: the seeds, what the generator
samples from them, maps of light, cameras, resolution and renderer. The checksum of a set that is published is
written in this file; a generator or assets that sample anything else cannot make the set under its name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from facelift.cameras import Cameras, canonical_rig, orbit_rig
from facelift.choices import RendererName
from facelift.data.folders import write_files
from facelift.data.schema import Contents, Files, digest
from facelift.data.split import BENCH_SEEDS, BENCH_V2_SEEDS, folder_name
from facelift.errors import UserError
from facelift.formats.files import atomic_path, explain
from facelift.synth.assets import Assets
from facelift.synth.head import draw_person
from facelift.synth.light import METERING_NORMALS, Lighting, irradiance, sample_lighting
from facelift.synth.opengl import Renderer
from facelift.synth.pack import open_assets
from facelift.synth.person import Person
from facelift.synth.recipes import sample_by_recipe, sample_surroundings
from facelift.synth.renderers import open_renderer
from facelift.synth.writer import encode


@dataclass(frozen=True)
class Bench:
    """What a set is made of.

    Attributes:
        name: with its version.
        seeds: one a person.
        lights: how many each person is seen under: the person's own, and others from the seed.
        orbit_views: beside the six canonical views.
        size: side of the views in pixels.
        renderer: "cycles" or "opengl".
        samples: paths through a pixel, for Cycles.
        checksum: of the parameters; None where nobody holds them to it.
        recipe: of the people, see `facelift.synth.recipes`.
    """

    name: str
    seeds: tuple[int, ...]
    lights: int
    orbit_views: int
    size: int
    renderer: RendererName
    samples: int
    checksum: str | None = None
    recipe: int = 1


BENCH_HEADS_V1 = Bench(
    name="bench-heads-v1",
    seeds=tuple(BENCH_SEEDS),
    lights=2,
    orbit_views=24,
    size=512,
    renderer="cycles",
    samples=8,
    checksum="5c98ecf41afa91e61cba2a787f6b0cf7e51ae46561ce502a538551cd0b365f4b",
)


BENCH_HEADS_V2 = replace(
    BENCH_HEADS_V1, name="bench-heads-v2", seeds=tuple(BENCH_V2_SEEDS), checksum=None, recipe=2
)

BENCHES = {1: BENCH_HEADS_V1, 2: BENCH_HEADS_V2}
"""The sets by their versions."""


def draft_of(bench: Bench) -> Bench:
    """The same people from the same cameras, drawn with OpenGL: another set, by another name."""
    return replace(bench, name=f"{bench.name}-draft", renderer="opengl", checksum=None)


def cameras_of(bench: Bench) -> Cameras:
    """The six canonical views, then the orbit."""
    return Cameras.concatenate([canonical_rig(bench.size), orbit_rig(bench.orbit_views, bench.size)])


def people_of(bench: Bench, assets: Assets) -> dict[str, Person]:
    """Every sample by name, `light_1/head_000976`: the person of a seed, under one of its lights.

    Raises:
        UserError: the assets lack scans or maps of light, and the set needs them.
    """
    if bench.recipe > 1 and not assets.hdris:
        raise UserError(
            f"{bench.name} needs maps of light: pack the assets with `facelift synth pack --scans --hdris`."
        )
    people = {}
    for seed in bench.seeds:
        person = sample_by_recipe(seed, assets, bench.recipe)
        for light in range(bench.lights):
            lit = person if light == 0 else _under_light(person, light, assets)
            people[f"light_{light}/{folder_name(seed)}"] = lit
    return dict(sorted(people.items()))


def maps_of(people: dict[str, Person], assets: Assets) -> dict[str, str]:
    """SHA-256 of every map of light that is seen, by its name."""
    names = sorted({person.hdri.name for person in people.values() if person.hdri is not None})
    return {name: digest(assets.hdri(name).astype("<f2").tobytes()) for name in names}


def parameters(bench: Bench, people: dict[str, Person], maps: dict[str, str] | None = None) -> dict[str, Any]:
    """All that the pictures depend on; floats are rounded, so that every machine says the same."""
    cameras = cameras_of(bench)
    facts = asdict(bench)
    del facts["checksum"]
    if bench.recipe == 1:  # as it was when there was no other
        del facts["recipe"]
    if maps:
        facts["maps"] = maps
    return {
        **facts,
        "w2c": _rounded(cameras.w2c),
        "intrinsics": _rounded(cameras.intrinsics),
        "people": {name: json.loads(person.to_json()) for name, person in people.items()},
    }


def checksum_of(found: dict[str, Any]) -> str:
    """SHA-256 of the parameters to two decimals: the last digits of some are the machine's, and NumPy's."""
    return hashlib.sha256(json.dumps(_to_two_decimals(found), sort_keys=True).encode()).hexdigest()


def _to_two_decimals(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_two_decimals(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_two_decimals(item) for item in value]
    return round(value, 2) + 0.0 if isinstance(value, float) else value  # no minus zero


def make_bench(out: str | Path, assets: str | Path, bench: Bench = BENCH_HEADS_V1) -> list[Path]:
    """Make the set, all of it that is not there yet; a run that was stopped is simply started again.

    Args:
        out: folder to fill; made if need be.
        assets: MakeHuman's data folder, or a pack.
        bench: which set.

    Returns:
        The folders of the samples.

    Raises:
        UserError: the generator or the assets are not those of the set, `out` holds another set or cannot be
            written, or the renderer is not installed.
    """
    opened, out = open_assets(Path(assets)), Path(out)
    people, cameras = people_of(bench, opened), cameras_of(bench)
    found = parameters(bench, people, maps_of(people, opened))
    checksum = checksum_of(found)
    if bench.checksum is not None and checksum != bench.checksum:
        raise UserError(
            f"This version of the generator, or these assets, make other heads than {bench.name}'s (checksum "
            f"{checksum[:12]}, not {bench.checksum[:12]}): take those that it was made with, or a new name."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write_or_agree(out / "bench.json", json.dumps({"checksum": checksum, **found}, indent=1) + "\n")
        missing = [name for name in people if not (out / name).exists()]
        contents = Contents("orbit", len(cameras), bench.size, "depth", bench.renderer, bench.samples)
        if missing:
            traced = bench.renderer != "opengl"
            with (
                Renderer() as renderer,
                open_renderer(bench.renderer, bench.samples) if traced else nullcontext() as picture_renderer,
            ):
                for name in track(missing, "heads", console=Console(stderr=True)):
                    head = draw_person(people[name], opened, renderer, cameras, picture_renderer)
                    _write_head(out / name, encode(contents, Path(name).name, head))
    except OSError as error:
        raise UserError(f"Cannot write {out}: {explain(error)}.") from error
    return [out / name for name in people]


def _under_light(person: Person, number: int, assets: Assets) -> Person:
    """The person under another of their lights."""
    if person.recipe > 1:
        return replace(person, hdri=sample_surroundings(person, assets, number))
    return _lit(person, sample_lighting(np.random.Generator(np.random.PCG64([person.seed, number]))))


def _lit(person: Person, lighting: Lighting) -> Person:
    """The person under another light, exposed so that the face gets as much of it as of the person's own."""
    exposure = person.lighting.exposure * _metered(person.lighting) / _metered(lighting)
    return replace(person, lighting=replace(lighting, exposure=round(exposure, 4)))


def _metered(lighting: Lighting) -> float:
    """Mean light on a face that looks ahead, before exposure and without shadows."""
    light = lighting.light()
    lamps = np.maximum(METERING_NORMALS @ light.directions.T, 0) @ light.colors
    return float((irradiance(light.environment, METERING_NORMALS) + lamps).mean())


def _write_or_agree(path: Path, text: str) -> None:
    if not path.exists():
        with atomic_path(path) as aside:
            aside.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        raise UserError(f"{path.parent} holds another set: give another folder, or delete it.")


def _write_head(folder: Path, files: Files) -> None:
    """Write one head beside its place, then rename it there."""
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    write_files(aside, files)
    aside.rename(folder)


def _rounded(values: torch.Tensor) -> list[Any]:
    # Zero has one sign only.
    return (values.double().mul(1e4).round().div(1e4) + 0.0).tolist()
