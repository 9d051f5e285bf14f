"""The settings of the fit to the views; a model's folder saves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from facelift.errors import UserError


@dataclass(frozen=True)
class RefineConfig:
    """How Gaussians are fitted to the views that they came from.

    World units: a head is about one unit high. Weights multiply a term of the loss that is summed over the
    pixels of two views, or over all Gaussians.

    Attributes:
        steps: of Adam, each on two views; 0 leaves the whole fit out.
        means_lr, quats_lr, scales_lr, opacities_lr, sh0_lr: learning rate of each field: world units,
            quaternion components, logarithms, logits and SH coefficients a step.
        adam_eps: Adam's epsilon, about the gradient of a Gaussian in plain sight: those that are hardly seen
            hardly move.
        image_weight: of the squared error of colour and coverage, by which Gaussians learn to show the views.
            0 leaves the other terms alone, for ablations.
        generated_weight: of a pixel that is generated, where one of the photo's is 1.
        generated_steps_factor: on `steps` where views are generated: they are not worth more.
        generated_lr_factor: on the rates of means, quats and scales where views are generated: such views
            disagree with one another, and outlines that follow each of them fray.
        color_smoothness: weight of the squared difference between a Gaussian's colour and its neighbours':
            one that differs is a speck between the views. 0 switches it off.
        generated_smoothness_factor: on `color_smoothness` where views are generated.
        smoothness_radius: distance up to which Gaussians are neighbours in colour, world units.
        smoothness_neighbors: how many of the nearest.
        flatness: weight of the squared distance along the normal from the middle of a Gaussian's neighbours:
            those that stand out of the surface are its outline when seen from aside. 0 switches it off.
        flatness_radius: distance up to which all `flatness_neighbors` must lie, world units.
        flatness_neighbors: how many of the nearest define the surface.
        color_prior: weight of the squared distance to the first colours: a Gaussian that shows in few pixels
            must not compensate for others. 0 switches it off.
        gap_growth: most by which `fill_gaps` widens a Gaussian that lies apart; 1 switches it off.
        gap_scale: largest standard deviation it widens to, world units.
        recolor: whether Gaussians take the colours of the views that see them before the fit, where views are
            generated.
        recolor_generated: trust in a colour that is generated, where one of the photo's has 1.
        recolor_half: total trust at which half of the colour is the new one.
        occlusion_depth, occlusion_softness: how far behind the surface a Gaussian is hidden from a view, and
            over what distance it becomes so, world units.
        boundary: width of the band about an outline, pixels, whose colours are mixed with the background.
        opaque: coverage from which a pixel shows the person alone.
        detail: whether what the photo shows is drawn with its own pixels, see `facelift.refine.detail`.
        detail_steps: of Adam there, each on the photo's outlines.
        detail_color_steps: corrections of the colours of what is drawn with the photo's pixels.
    """

    steps: int = 60
    means_lr: float = 2e-3
    quats_lr: float = 0.01
    scales_lr: float = 0.02
    opacities_lr: float = 0.1
    sh0_lr: float = 0.04
    adam_eps: float = 0.02
    image_weight: float = 1.0
    generated_weight: float = 0.3
    generated_steps_factor: float = 0.67
    generated_lr_factor: float = 0.3
    color_smoothness: float = 0.5
    generated_smoothness_factor: float = 3.0
    smoothness_radius: float = 0.03
    smoothness_neighbors: int = 4
    flatness: float = 200.0
    flatness_radius: float = 0.06
    flatness_neighbors: int = 16
    color_prior: float = 0.3
    gap_growth: float = 3.0
    gap_scale: float = 0.03
    recolor: bool = True
    recolor_generated: float = 0.02
    recolor_half: float = 0.005
    occlusion_depth: float = 0.03
    occlusion_softness: float = 0.01
    boundary: int = 5
    opaque: float = 0.9
    detail: bool = True
    detail_steps: int = 12
    detail_color_steps: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.smoothness_neighbors <= self.flatness_neighbors:
            raise ValueError("smoothness_neighbors must be from 1 to flatness_neighbors")
        if self.boundary % 2 != 1:
            raise ValueError("boundary must be an odd number of pixels")
        if any(value < 0 for value in asdict(self).values()):
            raise ValueError("no setting of the fit may be negative")

    def changed(self, settings: Sequence[str]) -> RefineConfig:
        """These settings with some others in their place.

        Args:
            settings: of the form NAME=VALUE, as in "flatness=0".

        Raises:
            UserError: there is no such setting, or it cannot have that value.
        """
        values: dict[str, bool | int | float] = {}
        for setting in settings:
            name, _, text = setting.partition("=")
            if name not in self.to_dict():
                raise UserError(f"The fit has no setting {name!r}: it has {', '.join(self.to_dict())}.")
            kind = type(getattr(self, name))
            try:
                values[name] = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
            except (KeyError, ValueError):
                kinds = {bool: "true or false", int: "a whole number", float: "a number"}
                raise UserError(f"The fit's {name} is {kinds[kind]}, not {text!r}.") from None
        try:
            return replace(self, **values)  # type: ignore[arg-type]
        except ValueError as error:
            raise UserError(f"The fit cannot be set so: {error}.") from None

    def to_dict(self) -> dict[str, object]:
        """Plain values, as JSON holds them."""
        return asdict(self)
