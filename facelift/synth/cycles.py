"""Draws a scene with Cycles, Blender's path tracer: the same people as OpenGL's, in truer light.

Nothing is written to disk: meshes and textures are handed to Blender in memory, and the passes are taken
from the render engine as it ends. What is worth it for a head is traced, and no more: four bounces, light
under the skin, hair that light goes through; what noise is left at a few samples is denoised.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from facelift.cameras import Cameras
from facelift.data.schema import CYCLES_SAMPLES
from facelift.errors import UserError
from facelift.synth.develop import develop
from facelift.synth.scene import Floats, Part, Scene

ENGINE = "FACELIFT_CYCLES"

SUBSURFACE_RADIUS = (0.009, 0.0035, 0.0017)
"""Mean free path of red, green and blue light under the skin, in world units (20 cm):
half of what is measured on skin, because the textures are photographs, which light has blurred already."""

RELIEF = 0.004
"""As in `shaders`: a texel is this much lower where the texture is black than where it is white."""

# OpenGL's four thresholds turn this range of a card's alpha into coverage, from nothing to all.
ALPHA_RANGE = (0.225, 0.825)

# Layers of hair, one behind another, that a ray may cross before it is lost, which would look black.
TRANSPARENT_BOUNCES = 64

STRAND_PARTS = ("hair", "beard", "brows", "lashes")


class Renderer:
    """Blender with an empty scene; a context manager, or call `close`. One at a time in a process.

    Args:
        samples: paths through a pixel; time grows with it.

    Raises:
        UserError: if bpy is not installed, or lacks a library of the system.
        RuntimeError: if another one is open: Blender has one scene in a process, and both would draw into it.
    """

    _is_open: ClassVar[bool] = False

    def __init__(self, samples: int = CYCLES_SAMPLES) -> None:
        if Renderer._is_open:
            raise RuntimeError("a process has one Blender: close the other renderer first")
        with _quiet():
            self._bpy = _blender()
            self._bpy.ops.wm.read_factory_settings(use_empty=True)
            self._passes = _register(self._bpy)
            self._blender = self._bpy.context.scene
            _configure(self._blender, samples)
        camera = self._bpy.data.objects.new("camera", self._bpy.data.cameras.new("camera"))
        self._blender.collection.objects.link(camera)
        self._blender.camera = camera
        self._scene: Scene | None = None
        Renderer._is_open = True

    def render(self, scene: Scene, cameras: Cameras) -> tuple[NDArray[np.uint8], Floats]:
        """Draw one scene from every camera; the same scene and camera give the same picture.

        Args:
            scene: kept by Blender until another scene is drawn, so that more views of it cost no build.
            cameras: N of them.

        Returns:
            rgba: (N, H, W, 4) uint8, sRGB with straight alpha; zero where nothing is.
            depth: (N, H, W) float32, distance along the camera's z axis to the surface that one ray somewhere
                within the pixel meets first, in world units; 0 where it meets nothing.
        """
        self._load(scene)
        self._blender.render.resolution_x = cameras.width
        self._blender.render.resolution_y = cameras.height
        rgba = np.empty((len(cameras), cameras.height, cameras.width, 4), np.uint8)
        depth = np.empty((len(cameras), cameras.height, cameras.width), np.float32)
        for i in range(len(cameras)):
            self._look(cameras, i)
            self._bpy.ops.render.render()
            rgba[i] = developed(self._passes["Combined"], scene.light.exposure)
            far = self._passes["Depth"][..., 0]
            depth[i] = np.where((far < self._blender.camera.data.clip_end) & (rgba[i, ..., 3] > 0), far, 0)
        return rgba, depth

    def close(self) -> None:
        """Empty Blender, which stays in the process."""
        self._forget()
        self._bpy.ops.wm.read_factory_settings(use_empty=True)
        Renderer._is_open = False

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _look(self, cameras: Cameras, i: int) -> None:
        """Put Blender's camera, which looks along -z with y up, where OpenCV's is, with its intrinsics."""
        fx, fy, cx, cy = cameras.intrinsics[i].tolist()
        camera = self._blender.camera
        camera.matrix_world = (cameras.c2w[i].numpy() * [1, -1, -1, 1]).T
        lens = camera.data
        lens.sensor_fit = "HORIZONTAL"
        lens.sensor_width = lens.lens * cameras.width / fx
        lens.shift_x = 0.5 - cx / cameras.width
        lens.shift_y = (cy - cameras.height / 2) / cameras.width * fx / fy
        self._blender.render.pixel_aspect_x = max(fy / fx, 1.0)
        self._blender.render.pixel_aspect_y = max(fx / fy, 1.0)

    def _load(self, scene: Scene) -> None:
        if self._scene is scene:
            return
        self._forget()
        for part in scene.parts:
            self._place(part.name, self._mesh(part))
        self._blender.world = self._world(scene.light.environment)
        light = scene.light
        for direction, color, spread in zip(light.directions, light.colors, light.spreads, strict=True):
            self._place("lamp", self._lamp(color, float(spread))).rotation_quaternion = _towards(direction)
        self._scene = scene

    def _forget(self) -> None:
        # What persists between views is known by its address, and the next person's texture may get the same.
        self._blender.render.use_persistent_data = False
        self._blender.render.use_persistent_data = True
        data = self._bpy.data
        data.batch_remove([thing for thing in data.objects if thing.type != "CAMERA"])
        for kind in (data.meshes, data.lights, data.materials, data.worlds):
            data.batch_remove(kind)
        data.batch_remove([image for image in data.images if image.type != "RENDER_RESULT"])
        self._scene = None

    def _place(self, name: str, data: Any) -> Any:
        thing = self._bpy.data.objects.new(name, data)
        thing.rotation_mode = "QUATERNION"
        self._blender.collection.objects.link(thing)
        return thing

    def _mesh(self, part: Part) -> Any:
        mesh, count = self._bpy.data.meshes.new(part.name), len(part.faces)
        mesh.vertices.add(len(part.vertices))
        mesh.vertices.foreach_set("co", part.vertices.ravel())
        mesh.loops.add(3 * count)
        mesh.loops.foreach_set("vertex_index", part.faces.ravel())
        mesh.polygons.add(count)
        mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
        mesh.uv_layers.new().uv.foreach_set("vector", part.uvs[part.faces].ravel())
        mesh.update(calc_edges=True)
        mesh.normals_split_custom_set_from_vertices(part.normals)
        mesh.materials.append(self._material(part))
        return mesh

    def _material(self, part: Part) -> Any:
        material = self._bpy.data.materials.new(part.name)
        nodes = _Nodes(material)
        texture = nodes.add("ShaderNodeTexImage", image=self._texture(part))
        if part.name in STRAND_PARTS:
            surface = nodes.strands(texture)
        else:
            surface = nodes.add("ShaderNodeBsdfPrincipled")
            nodes.set(surface, Roughness=part.roughness, Specular_IOR_Level=part.specular)
            nodes.link(texture, "Color", surface, "Base Color")
            nodes.emboss(texture, surface)
        if part.name == "skin":
            surface.subsurface_method = "RANDOM_WALK_SKIN"
            nodes.set(
                surface, Subsurface_Weight=1.0, Subsurface_Radius=SUBSURFACE_RADIUS, Subsurface_Scale=1.0
            )
        if part.alpha:
            surface = nodes.cut(texture, surface)
        nodes.link(surface, 0, nodes.add("ShaderNodeOutputMaterial"), "Surface")
        return material

    def _texture(self, part: Part) -> Any:
        image = self._image(part.name, (part.texture / 255).astype(np.float32))
        image.alpha_mode = "STRAIGHT" if part.alpha else "NONE"
        return image

    def _image(self, name: str, rgba: Floats, is_radiance: bool = False) -> Any:
        """An image (H, W, 4) in Blender, whose rows begin at the bottom; sRGB unless it is radiance."""
        height, width = rgba.shape[:2]
        image = self._bpy.data.images.new(
            name, width, height, alpha=True, float_buffer=is_radiance, is_data=is_radiance
        )
        image.pixels.foreach_set(np.ascontiguousarray(rgba[::-1], np.float32).ravel())
        image.update()
        return image

    def _world(self, environment: Floats) -> Any:
        # Blender's azimuth runs the other way round, and its picture begins at -x.
        turned = np.roll(environment[:, ::-1], environment.shape[1] // 2, axis=1)
        rgba = np.concatenate([turned, np.ones_like(turned[..., :1])], axis=-1)
        world = self._bpy.data.worlds.new("environment")
        nodes = _Nodes(world)
        picture = nodes.add("ShaderNodeTexEnvironment", image=self._image("environment", rgba, True))
        background = nodes.add("ShaderNodeBackground")
        nodes.link(picture, "Color", background, "Color")
        nodes.link(background, 0, nodes.add("ShaderNodeOutputWorld"), "Surface")
        return world

    def _lamp(self, color: Floats, spread: float) -> Any:
        lamp = self._bpy.data.lights.new("lamp", "SUN")
        lamp.energy = np.pi  # the irradiance under which a white matte surface has the radiance 1
        lamp.color = color.tolist()
        lamp.angle = 2 * spread
        return lamp


def developed(linear: Floats, exposure: float) -> NDArray[np.uint8]:
    """A picture (H, W, 4) of radiance times alpha as 8-bit sRGB with straight alpha.

    Args:
        linear: (H, W, 4) linear RGB times alpha, and alpha.
        exposure: factor on the radiance.
    """
    alpha = linear[..., 3:].clip(0, 1)
    c = develop(exposure * np.maximum(linear[..., :3], 0) / np.maximum(alpha, 1e-6))
    seen = np.rint(255 * alpha) > 0
    return np.rint(255 * np.concatenate([c, alpha], axis=-1) * seen).astype(np.uint8)


class _Nodes:
    """The shader nodes of a material or a world."""

    def __init__(self, owner: Any) -> None:
        owner.use_nodes = True
        self._tree = owner.node_tree
        self._tree.nodes.clear()

    def add(self, kind: str, **settings: Any) -> Any:
        node = self._tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        return node

    def set(self, node: Any, **values: Any) -> None:
        """Set inputs by their names, with _ for blanks."""
        for name, value in values.items():
            node.inputs[name.replace("_", " ")].default_value = value

    def link(self, source: Any, output: str | int, node: Any, name: str | int) -> None:
        self._tree.links.new(source.outputs[output], node.inputs[name])

    def mix(self, first: Any, second: Any) -> Any:
        """Half of one surface and half of the other, if input Factor says nothing else."""
        mix = self.add("ShaderNodeMixShader")
        self.link(first, 0, mix, 1)
        self.link(second, 0, mix, 2)
        return mix

    def strands(self, texture: Any) -> Any:
        """A matte sheet of strands, which half of the light goes through: its back is as light as its front.

        The shine of hair is painted in its texture; a mirror on so coarse a sheet would show the sheet.
        """
        sides = self.add("ShaderNodeBsdfDiffuse"), self.add("ShaderNodeBsdfTranslucent")
        for side in sides:
            self.link(texture, "Color", side, "Color")
        return self.mix(*sides)

    def cut(self, texture: Any, surface: Any) -> Any:
        """Nothing where the texture's alpha says so."""
        cover = self.add("ShaderNodeMapRange")
        self.set(cover, From_Min=ALPHA_RANGE[0], From_Max=ALPHA_RANGE[1])
        self.link(texture, "Alpha", cover, "Value")
        mix = self.mix(self.add("ShaderNodeBsdfTransparent"), surface)
        self.link(cover, "Result", mix, 0)
        return mix

    def emboss(self, texture: Any, base: Any) -> None:
        """Lower the surface a little where its texture is dark: pores, creases, folds."""
        height = self.add("ShaderNodeMath", operation="SQRT")
        self.link(texture, "Color", height, 0)
        bump = self.add("ShaderNodeBump")
        self.set(bump, Distance=RELIEF)
        self.link(height, 0, bump, "Height")
        self.link(bump, "Normal", base, "Normal")


def _blender() -> Any:
    try:
        import bpy
    except ModuleNotFoundError as error:
        raise UserError(
            "Drawing with Cycles needs bpy, Blender as a module, which needs Python 3.11; install it with: "
            'pip install "facelift[cycles]"'
        ) from error
    except ImportError as error:
        raise UserError(
            f"Blender could not be loaded ({error}); on Debian or Ubuntu install the packages "
            "libxrender1, libxfixes3, libxi6, libxkbcommon0, libsm6 and libgl1."
        ) from error
    return bpy


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what Blender itself says on standard output, such as that it found no GPU."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _register(bpy: Any) -> dict[str, Floats]:
    """Register an engine that is Cycles, but hands its passes over: they come into the returned dictionary.

    Without a window Blender gives nobody its pixels but through a file. Rows begin at the top.
    """
    import cycles

    passes: dict[str, Floats] = {}

    class Engine(cycles.CyclesRender):
        bl_idname = ENGINE

        def render(self, depsgraph: Any) -> None:
            super().render(depsgraph)
            result = self.get_result()
            for layer in result.layers[0].passes:
                pixels = np.empty((result.resolution_y, result.resolution_x, layer.channels), np.float32)
                layer.rect.foreach_get(pixels.ravel())
                passes[layer.name] = pixels[::-1]

    bpy.utils.register_class(Engine)
    return passes


def _configure(blender: Any, samples: int) -> None:
    blender.render.engine = ENGINE
    blender.render.film_transparent = True
    blender.render.use_compositing = blender.render.use_sequencer = False
    blender.view_layers[0].use_pass_z = True
    cycles = blender.cycles
    cycles.seed = 0
    cycles.samples = samples
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = True
    cycles.denoiser = "OPENIMAGEDENOISE"
    cycles.denoising_prefilter = "FAST"
    cycles.pixel_filter_type = "BOX"  # as OpenGL's, so that an edge is as soft in both
    cycles.filter_width = 1.0
    cycles.max_bounces = cycles.diffuse_bounces = 4
    cycles.glossy_bounces = 2
    cycles.transparent_max_bounces = TRANSPARENT_BOUNCES
    cycles.caustics_reflective = False
    cycles.sample_clamp_indirect = 4.0
    cycles.use_auto_tile = False


def _towards(direction: Floats) -> Any:
    """The rotation of a lamp, which shines along -z, that puts it in a direction."""
    from mathutils import Vector

    return Vector(direction.tolist()).to_track_quat("Z", "Y")
