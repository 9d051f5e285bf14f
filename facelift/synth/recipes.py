"""Versions of what people are sampled with: a seed and a recipe are a person.

Recipe 1 has MakeHuman's sliders and moods (`sampling.py`); bench-heads-v1 is made with it. Recipe 2 revises
that person, with random numbers of its own: the face varies as scans do, shows what portraits show, and
mostly looks into the camera; maps of light may light it, and it has a photo. It needs the scans that
`facelift synth scans` makes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from facelift.errors import UserError
from facelift.synth.arkit import looking, sample_expression
from facelift.synth.assets import Assets
from facelift.synth.coverings import SHARES, SHOWS_HAIR, sample_covering
from facelift.synth.haircuts import sample_haircut
from facelift.synth.hairdos import sample_groomed, sample_hairdo
from facelift.synth.hdri import Hdri, sample_hdri
from facelift.synth.person import Person
from facelift.synth.photo import sample_photo
from facelift.synth.priors import (
    BESIDE_SCANS,
    BLENDED_SKINS,
    BROWS,
    BROWS_TILT,
    GROOMED_SHARE,
    HDRI_SHARE,
    LASH_STRENGTH,
    LASHES,
    LOOKING_AWAY,
    MEN_LONG,
    MEN_SHORT,
    MESH_SHARE,
    MODES,
    MODES_SPREAD,
    PURITY,
    TURNS,
    WOMEN_SHORT,
)
from facelift.synth.sampling import albedo_factor, sample_person
from facelift.synth.values import pair, triple

RECIPES = (1, 2)


def sample_by_recipe(seed: int, assets: Assets, recipe: int | None = None) -> Person:
    """The random person of a seed.

    Args:
        seed: the same seed, recipe and assets give the same person.
        assets: MakeHuman's, with scans for recipe 2.
        recipe: one of RECIPES; None for the newest that the assets have everything for.

    Raises:
        UserError: for an unknown recipe, or one that the assets lack something for.
    """
    if recipe is None:
        recipe = newest_recipe(assets)
    if recipe not in RECIPES:
        raise UserError(f"--recipe must be {' or '.join(map(str, RECIPES))}, not {recipe}.")
    person = sample_person(seed, assets)
    return person if recipe == 1 else _revised(person, assets)


def newest_recipe(assets: Assets) -> int:
    """The newest recipe that the assets have everything for."""
    return 2 if assets.has_scans else 1


def _revised(person: Person, assets: Assets) -> Person:
    rng = np.random.Generator(np.random.PCG64([person.seed, 20]))
    count = min(len(assets.scans.identity), MODES)
    modes = rng.normal(0, 1, count).clip(-2.5, 2.5) * np.interp(np.arange(count), *MODES_SPREAD)
    targets = {
        name: round(weight * BESIDE_SCANS.get(name.split("/")[0], 1.0), 4)
        for name, weight in _less_mixed(person.targets).items()
        if not name.startswith("expression/")
    }
    targets |= _tilted_brows(targets)
    turn = rng.normal(0, TURNS[int(rng.random() < 0.25)]).clip([-20, -10, -10], [20, 10, 10])
    gaze = _sample_gaze(rng, turn)
    surroundings = sample_surroundings(person, assets)
    lights = np.random.Generator(np.random.PCG64([person.seed, 31])).random() < HDRI_SHARE
    return replace(
        with_covering(with_groomed_hair(with_grown_hair(person), assets)),
        recipe=2,
        targets=targets,
        **_brows_and_lashes(person, assets),
        skin_mix=person.skin_mix if rng.random() < BLENDED_SKINS else 0.0,
        modes=tuple(round(float(weight), 3) for weight in modes),
        expression=sample_expression(rng) | looking(gaze),
        turn=triple(turn),
        gaze=gaze,
        hdri=surroundings if lights else None,
        photo=sample_photo(np.random.Generator(np.random.PCG64([person.seed, 32])), surroundings),
    )


def _tilted_brows(targets: dict[str, float]) -> dict[str, float]:
    """The slider of the brows, moved: MakeHuman's brows dip towards the nose, as if in anger."""
    up, down = "eyebrows/eyebrows-angle-up", "eyebrows/eyebrows-angle-down"
    tilt = targets.get(up, 0.0) - targets.get(down, 0.0) + BROWS_TILT
    return {up: round(max(tilt, 0.0), 4), down: round(max(-tilt, 0.0), 4)}


def _brows_and_lashes(person: Person, assets: Assets) -> dict[str, Any]:
    """Those that go with the sex; MakeHuman's are made up, many of them."""
    rng = np.random.Generator(np.random.PCG64([person.seed, 33]))
    sex = int(person.male > 0.5)

    def pick(pattern: str, known: dict[str, tuple[float, float]]) -> str:
        names = assets.names(pattern)
        shares = np.array([known.get(name.split("/")[1], (1.0, 1.0))[sex] for name in names])
        return names[int(rng.choice(len(names), p=shares / shares.sum()))]

    return {
        "brows": pick("eyebrows/*/*.mhclo", BROWS),
        "lashes": pick("eyelashes/*/*.mhclo", LASHES),
        "lash_strength": round(float(rng.uniform(*LASH_STRENGTH[sex])), 3),
    }


def sample_surroundings(person: Person, assets: Assets, number: int = 0) -> Hdri | None:
    """Where the person may stand, the first place or another one; None where there are no maps."""
    rng = np.random.Generator(np.random.PCG64([person.seed, 30, number]))
    names = assets.hdris
    if not names:
        return None
    name = names[int(rng.integers(len(names)))]
    return sample_hdri(rng, name, assets.hdri(name), albedo_factor(person.skin_tone))


def with_grown_hair(person: Person) -> Person:
    """The person with hair that grows from the scalp, as most have it; the bald stay bald."""
    rng = np.random.Generator(np.random.PCG64([person.seed, 21]))
    is_male = person.male > 0.5
    if person.hair is None:
        return person
    short = MEN_SHORT if is_male else float(np.interp(person.age, *WOMEN_SHORT))
    long = np.dot(MEN_LONG, person.ethnicity) if is_male else 1 - short - MESH_SHARE
    chance = rng.random()
    if chance < short:
        return replace(
            person, hair=None, haircut=sample_haircut(rng, is_male, person.age, person.ethnicity[2])
        )
    if chance < short + long:
        return replace(person, hair=None, hairdo=sample_hairdo(rng, is_male, person.age, person.ethnicity))
    return person


def with_groomed_hair(person: Person, assets: Assets) -> Person:
    """The person with a groomed style in place of hair that grows, if chance will have it."""
    rng = np.random.Generator(np.random.PCG64([person.seed, 23]))
    if person.on_scalp is None or rng.random() >= GROOMED_SHARE:
        return person
    is_male = person.male > 0.5
    do = person.hairdo or sample_hairdo(rng, is_male, person.age, person.ethnicity)
    groomed = sample_groomed(rng, do, assets.hairstyles, is_male)
    return person if groomed is None else replace(person, haircut=None, hairdo=groomed)


def with_covering(person: Person) -> Person:
    """The person with cloth around the head, if chance will have it: in place of a hat, over the hair."""
    rng = np.random.Generator(np.random.PCG64([person.seed, 22]))
    is_male = person.male > 0.5
    if rng.random() >= SHARES[is_male]:
        return person
    covering = sample_covering(rng, is_male)
    haircut = person.on_scalp if covering.kind in SHOWS_HAIR else None
    return replace(person, hair=None, haircut=haircut, hairdo=None, hat=None, covering=covering)


def _less_mixed(targets: dict[str, float]) -> dict[str, float]:
    """Targets with shares of sexes and ethnicities that are farther from even, at the same age."""
    out = dict(targets)
    for age in ("-young", "-old"):
        names = [name for name in targets if name.startswith("macrodetails/") and name.endswith(age)]
        shares = np.array([max(targets[name], 0.0) for name in names])
        powers = shares**PURITY
        out |= dict(zip(names, (powers * (shares.sum() / max(powers.sum(), 1e-9))).tolist(), strict=True))
    return out


def _sample_gaze(rng: np.random.Generator, turn: Any) -> tuple[float, float]:
    """Into the camera, wherever the head is turned; now and then elsewhere."""
    away = rng.normal(0, [8, 4]) if rng.random() < LOOKING_AWAY else rng.normal(0, [1.2, 1.0])
    return pair((away - turn[:2]).clip([-22, -14], [22, 14]))
