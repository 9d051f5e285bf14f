"""Draws a scene with OpenGL, without a display: EGL, on a GPU or on Mesa's software rasteriser.

Every view is drawn at twice its size and boxed down, so a pixel's alpha is the share of its 2 x 2
subsamples that the scene covers. Hair cards are cut by a threshold that differs among the four, which
turns the texture's alpha into coverage without sorting anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelift.cameras import Cameras
from facelift.data.parts import part_id
from facelift.errors import UserError
from facelift.synth import shaders
from facelift.synth.light import ENVIRONMENT_SHAPE, directions_of, solid_angles
from facelift.synth.scene import Drawing, Floats, Light, Part, Scene
from facelift.synth.shaders import AMBIENT_RAYS, LAMP_RAYS, MAX_LAMPS, TILE, TILES

NEAR, FAR = 0.1, 100.0

GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
"""In radians: it spreads points evenly on a sphere."""

SHADOW_REACH = 1.25
"""World units from the origin beyond which nothing throws a shadow; the views hardly show more."""

# Wrap lighting of translucent parts: how far past the terminator red, green and blue light reaches.
_WRAP = {
    "skin": (0.3, 0.12, 0.08),
    "hair": (0.3, 0.3, 0.3),
    "beard": (0.3, 0.3, 0.3),
    "brows": (0.3, 0.3, 0.3),
    "tongue": (0.3, 0.15, 0.1),
}

# Share of the light that lids and lips keep off what is behind them; thinner than a texel of the shadow map,
# they cast too little shadow there.
_OCCLUSION = {"eyes": 0.8, "teeth": 0.8, "tongue": 0.6}

# What lies in folds of the skin takes light from little else, and teeth have as many faces as all the skin.
_ENCLOSED = ("eyes", "brows", "lashes", "teeth", "tongue")

# A beard's shells in the middle, a third of them, stop as much light as all do.
_MIDDLE = (1 / 3, 2 / 3)

# Light from directions lower than this (z of a unit vector) would come through the body: it is left out.
_MIN_LIGHT_HEIGHT = -0.35


class Renderer:
    """An OpenGL context that draws scenes; a context manager, or call `close`.

    Raises:
        UserError: if moderngl is not installed, or the machine has no EGL.
    """

    def __init__(self) -> None:
        self._gl = _context()
        self._shade = {
            kind: self._gl.program(
                vertex_shader=shaders.VERTEX, fragment_shader=shaders.FRAGMENT.replace("KIND", kind)
            )
            for kind in shaders.KINDS
        }
        self._depth = {
            kind: self._gl.program(vertex_shader=shaders.DEPTH_VERTEX, fragment_shader=fragment)
            for kind, fragment in shaders.DEPTH_FRAGMENTS.items()
        }
        _set(self._shade, albedo=0, surroundings=1)
        self._gather = self._gl.program(vertex_shader=shaders.GATHER, varyings=["ambient", "lit"])
        self._atlas = self._gl.depth_texture((TILE * TILES, TILE * TILES))
        self._atlas.compare_func = ""
        self._tiles = self._gl.framebuffer(depth_attachment=self._atlas)
        self._box = self._gl.program(vertex_shader=shaders.FULL_SCREEN, fragment_shader=shaders.BOX)
        self._box["fine_color"], self._box["fine_depth"], self._box["fine_surface"] = 0, 1, 2
        self._box["near_far"] = NEAR, FAR
        self._screen = self._gl.vertex_array(self._box, [])
        self._surroundings: Any = None
        self._target: _Target | None = None
        self._scene: Scene | None = None
        self._meshes: list[_Mesh] = []

    def render(self, scene: Scene, cameras: Cameras) -> tuple[NDArray[np.uint8], Floats]:
        """Pictures and depths alone: `rgba` and `depth` of what `draw` returns."""
        drawing = self.draw(scene, cameras)
        return drawing.rgba, drawing.depth

    def draw(self, scene: Scene, cameras: Cameras) -> Drawing:
        """Draw one scene from every camera.

        Args:
            scene: kept on the GPU until another scene is drawn, so that more views of it cost no upload.
            cameras: N of them.
        """
        with self._gl:  # another context may be the current one, such as another renderer's
            self._upload(scene)
            target = self._resize(cameras.width, cameras.height)
            shape = len(cameras), cameras.height, cameras.width
            rgba, surface = np.empty((*shape, 4), np.uint8), np.empty((*shape, 4), np.uint8)
            depth = np.empty(shape, np.float32)
            matrices, eyes = _clip_from_world(cameras), cameras.positions.tolist()
            corners = _corners(np.concatenate([part.vertices for part in scene.parts]))
            for i in range(len(cameras)):
                _set(self._shade, clip_from_world=matrices[i].T, eye=eyes[i])
                _set(self._depth, clip_from_world=matrices[i].T)
                self._draw(target)
                self._reduce(target, _rectangle(corners, matrices[i], cameras.width, cameras.height))
                target.output.read_into(rgba[i], components=4, attachment=0)
                target.output.read_into(depth[i], components=1, attachment=1, dtype="f4")
                target.output.read_into(surface[i], components=4, attachment=2)
            return Drawing(rgba, depth, surface[..., :3], surface[..., 3])

    def close(self) -> None:
        """Release everything on the GPU, the context included."""
        with self._gl:
            self._forget()
            if self._surroundings is not None:
                self._surroundings.release()
            if self._target is not None:
                self._target.release()
                self._target = None
            for thing in (self._tiles, self._atlas, self._screen):
                thing.release()
            for program in (*self._shade.values(), *self._depth.values(), self._gather, self._box):
                program.release()
        self._gl.release()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _draw(self, target: _Target) -> None:
        # Rows run downwards in the images, so what OpenGL holds for up is down and windings are mirrored.
        self._gl.front_face = "cw"
        self._gl.enable_only(self._gl.DEPTH_TEST)
        self._surroundings.use(1)
        # First what is nearest, which is cheap to find, and then nothing is shaded but that.
        target.nearest.use()
        target.nearest.clear()
        _set(self._depth, dithered=True)
        for mesh in self._meshes:
            mesh.texture.use(0)
            mesh.outline.render()
        target.fine.use()
        target.fine.clear()
        self._gl.depth_func = "=="
        for mesh in reversed(self._meshes):  # where two are level, the first one is seen
            name = mesh.part.name
            mesh.texture.use(0)
            _set(
                {"": self._shade[mesh.kind]},
                wrap=_WRAP.get(name, (0.0, 0.0, 0.0)),
                shelter=_OCCLUSION.get(name, 1.0),
                roughness=max(mesh.part.roughness, 0.05),
                specular=mesh.part.specular,
                part=part_id(name) / 255,
            )
            mesh.array.render()
        self._gl.depth_func = "<"

    def _reduce(self, target: _Target, rectangle: Rectangle) -> None:
        """Box the fine image down within this rectangle (x, y, width, height); all around is nothing."""
        target.output.use()
        target.output.clear()
        target.output.scissor = rectangle
        self._gl.enable_only(self._gl.NOTHING)
        target.color.use(0)
        target.depth.use(1)
        target.surface.use(2)
        self._screen.render(vertices=3)
        target.output.scissor = None

    def _upload(self, scene: Scene) -> None:
        if self._scene is scene:
            return
        self._forget()
        # Opaque surfaces first: they hide most of the hair's fragments before those are shaded.
        for part in sorted(scene.parts, key=lambda part: part.alpha):
            self._meshes.append(_Mesh.upload(self._gl, part, self._shade, self._depth, self._gather))
        self._set_light(scene.light)
        self._gather_light(scene)
        self._scene = scene

    def _set_light(self, light: Light) -> None:
        lamps = len(light.directions)
        if lamps > MAX_LAMPS:
            raise ValueError(f"a scene may have {MAX_LAMPS} lamps, this one has {lamps}")
        _set(
            self._shade,
            directions=_padded(light.directions, MAX_LAMPS),
            colors=_padded(light.colors, MAX_LAMPS),
            spreads=_padded(light.spreads, MAX_LAMPS),
            exposure=light.exposure,
            lamps=lamps,
        )
        self._gather["lamps"] = lamps
        self._gather["radiance"].write(_shares(light.environment, _ambient_rays()).tobytes())
        if self._surroundings is not None:
            self._surroundings.release()
        rows, columns = light.environment.shape[:2]
        _set(self._shade, finer=np.log2(rows / ENVIRONMENT_SHAPE[0]))
        pixels = light.environment.astype(np.float32).tobytes()
        self._surroundings = self._gl.texture((columns, rows), 3, pixels, dtype="f4")
        self._surroundings.build_mipmaps()
        self._surroundings.repeat_y = False

    def _gather_light(self, scene: Scene) -> None:
        """Store at every vertex how much light reaches it: soft shadows, and the dark of folds."""
        rays = _rays(scene.light)
        extent = max(float(np.linalg.norm(part.vertices, axis=1).max()) for part in scene.parts)
        radius = min(extent, SHADOW_REACH)
        tiles = _tile_from_world(rays, radius)
        self._tiles.use()
        self._tiles.clear()
        self._gl.enable_only(self._gl.DEPTH_TEST)
        self._gl.front_face = "ccw"
        _set(self._depth, dithered=False)
        blocking = [mesh for mesh in self._meshes if mesh.part.name not in _ENCLOSED]
        for i, matrix in enumerate(tiles):
            self._tiles.viewport = (TILE * (i % TILES), TILE * (i // TILES), TILE, TILE)
            _set(self._depth, clip_from_world=matrix.T)
            for mesh in blocking:
                closed = mesh.part.name == "skin" and rays[i, 2] > _MIN_LIGHT_HEIGHT
                self._gl.enable_only(self._gl.DEPTH_TEST | (self._gl.CULL_FACE if closed else 0))
                mesh.texture.use(0)
                mesh.outline.render(first=mesh.blocking.start, vertices=len(mesh.blocking))
        count = AMBIENT_RAYS + MAX_LAMPS * LAMP_RAYS
        self._gather["rays"].write(_padded(rays, count).tobytes())
        self._gather["tiles"].write(_padded(tiles.transpose(0, 2, 1), count).tobytes())
        self._gather["texel"] = 2 * radius / TILE
        self._atlas.use(0)
        for mesh in self._meshes:
            self._gather["strands"] = mesh.kind == "STRANDS"
            mesh.points.transform(mesh.light, mode=self._gl.POINTS)

    def _forget(self) -> None:
        for mesh in self._meshes:
            mesh.release()
        self._meshes = []
        self._scene = None

    def _resize(self, width: int, height: int) -> _Target:
        if self._target is None or self._target.output.size != (width, height):
            if self._target is not None:
                self._target.release()
            self._target = _Target.create(self._gl, width, height)
        return self._target


def _context() -> Any:
    try:
        import moderngl
    except ImportError as error:
        raise UserError(
            'Drawing synthetic heads needs moderngl; install it with: pip install "facelift[synth]"'
        ) from error
    try:
        create: Any = moderngl.create_context  # its annotation of `backend` is wrong
        return create(standalone=True, require=330, backend="egl")
    except Exception as error:
        raise UserError(
            "OpenGL could not be opened through EGL; on Debian or Ubuntu install the packages "
            "libegl1 and libgl1-mesa-dri."
        ) from error


@dataclass(frozen=True)
class _Mesh:
    """One part on the GPU: `array` to shade, `outline` for its shape alone, `points` to gather light at.

    `blocking` are the corners of its faces that stop light.
    """

    part: Part
    kind: str
    texture: Any
    light: Any
    array: Any
    outline: Any
    points: Any
    blocking: range
    buffers: tuple[Any, Any]

    @staticmethod
    def upload(gl: Any, part: Part, shade: Any, depth: Any, gather: Any) -> _Mesh:
        kind = "STRANDS" if part.name == "hair" else "CARD" if part.alpha else "SOLID"
        pixels = _premultiplied(part.texture) if part.alpha else part.texture
        texture = gl.texture(pixels.shape[1::-1], 4, np.ascontiguousarray(pixels))
        texture.build_mipmaps()
        uvs = part.uvs * [1, -1] + [0, 1]
        tangents = _tangents(part) if kind == "STRANDS" else np.zeros_like(part.normals)
        interleaved = np.concatenate([part.vertices, part.normals, tangents, uvs], axis=1)
        vertices = gl.buffer(interleaved.astype(np.float32).tobytes())
        faces = gl.buffer(part.faces.astype(np.int32).tobytes())
        light = gl.buffer(reserve=len(part.vertices) * 8 * 4)
        surface = (vertices, "3f 3f 3f 2f", "position", "normal", "tangent", "uv")
        # Attributes that a program makes no use of are not errors.
        lit = [surface, (light, "4f 4f", "ambient", "lit")]
        array = gl.vertex_array(shade[kind], lit, faces, skip_errors=True)
        outline = gl.vertex_array(depth[kind], [surface], faces, skip_errors=True)
        points = gl.vertex_array(gather, [(vertices, "3f 3f 20x", "position", "normal")])
        first, last = _MIDDLE if part.name == "beard" else (0, 1)
        blocking = range(3 * round(first * len(part.faces)), 3 * round(last * len(part.faces)))
        return _Mesh(part, kind, texture, light, array, outline, points, blocking, (vertices, faces))

    def release(self) -> None:
        for thing in (self.array, self.outline, self.points, self.light, *self.buffers, self.texture):
            thing.release()


@dataclass(frozen=True)
class _Target:
    """The framebuffers of one image size.

    Twice as large to draw in, first the depth alone, then all; and as large as the image to read.
    """

    color: Any
    depth: Any
    surface: Any
    nearest: Any
    fine: Any
    output: Any

    @staticmethod
    def create(gl: Any, width: int, height: int) -> _Target:
        color, surface = (gl.texture((2 * width, 2 * height), 4) for _ in range(2))
        depth = gl.depth_texture((2 * width, 2 * height))
        depth.compare_func = ""
        output = gl.framebuffer(
            [
                gl.renderbuffer((width, height), 4),
                gl.renderbuffer((width, height), 1, dtype="f4"),
                gl.renderbuffer((width, height), 4),
            ]
        )
        nearest, fine = gl.framebuffer([], depth), gl.framebuffer([color, surface], depth)
        fine.depth_mask = False
        return _Target(color, depth, surface, nearest, fine, output)

    def release(self) -> None:
        fine = self.nearest, self.fine, self.color, self.surface, self.depth
        for thing in (self.output, *self.output.color_attachments, *fine):
            thing.release()


def _premultiplied(texture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A card's texture as it is filtered: colour times alpha, or what is clear would bleed into hair."""
    return np.asarray(Image.fromarray(texture).convert("RGBa"))


def _set(programs: dict[str, Any], **uniforms: Any) -> None:
    """Give these uniforms to all programs that have them: floats, but Python's whole numbers and bools."""
    for name, value in uniforms.items():
        data = np.asarray(value, np.int32 if isinstance(value, int) else np.float32).tobytes()
        for program in programs.values():
            if name in program:
                program[name].write(data)


def _tangents(part: Part) -> Floats:
    """(V, 3) unit directions in which the texture's v grows: the way of the strands on a hair card."""
    corners, uvs = part.vertices[part.faces], part.uvs[part.faces]
    sides, turns = corners[:, 1:] - corners[:, :1], uvs[:, 1:] - uvs[:, :1]
    along = sides[:, 1] * turns[:, :1, 0] - sides[:, 0] * turns[:, 1:, 0]
    along *= np.sign(turns[:, :1, 0] * turns[:, 1:, 1] - turns[:, 1:, 0] * turns[:, :1, 1])
    total = np.zeros_like(part.vertices)
    for corner in range(3):
        np.add.at(total, part.faces[:, corner], along)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _padded(rows: NDArray[Any], count: int) -> Floats:
    padded = np.zeros((count, *rows.shape[1:]), np.float32)
    padded[: len(rows)] = rows
    return padded


def _rays(light: Light) -> Floats:
    """(R, 3) unit directions: AMBIENT_RAYS over the whole sphere, then LAMP_RAYS over each lamp's disc."""
    rays = [_ambient_rays()]
    i = np.arange(LAMP_RAYS)
    for direction, angle in zip(light.directions, light.spreads, strict=True):
        spread = np.tan(angle) * np.sqrt((i + 0.5) / LAMP_RAYS)
        right, up, _ = _frame(direction)
        disc = (
            spread * np.cos(GOLDEN_ANGLE * i) * right[:, None]
            + spread * np.sin(GOLDEN_ANGLE * i) * up[:, None]
        )
        ray = direction + disc.T
        rays.append(ray / np.linalg.norm(ray, axis=1, keepdims=True))
    return np.concatenate(rays).astype(np.float32)


def _ambient_rays() -> Floats:
    """(AMBIENT_RAYS, 3) unit directions, evenly over the sphere: Fibonacci's spiral."""
    i = np.arange(AMBIENT_RAYS)
    z = 1 - (2 * i + 1) / AMBIENT_RAYS
    flat = np.sqrt(1 - z * z)
    return np.stack([flat * np.cos(GOLDEN_ANGLE * i), flat * np.sin(GOLDEN_ANGLE * i), z], axis=1).astype(
        np.float32
    )


def _shares(environment: Floats, rays: Floats) -> Floats:
    """(R, 3) mean radiance of an environment (H, W, 3) over what is nearest to each of the rays (R, 3)."""
    # A few large pixels are split, lest a ray's share hang on where they happen to lie.
    split = max(4 * ENVIRONMENT_SHAPE[0] // len(environment), 1)
    fine = environment.repeat(split, axis=0).repeat(split, axis=1)
    rows, columns = fine.shape[:2]
    nearest = (directions_of(rows, columns).reshape(-1, 3) @ rays.T).argmax(axis=1)
    weight = solid_angles(rows, columns).reshape(-1)
    total = np.bincount(nearest, weight, len(rays))
    sums = [np.bincount(nearest, weight * c, len(rays)) for c in fine.reshape(-1, 3).T]
    return (np.stack(sums, axis=1) / np.maximum(total, 1e-9)[:, None]).astype(np.float32)


def _frame(direction: NDArray[Any]) -> NDArray[np.float64]:
    """(3, 3) orthonormal rows of which the last is `direction`."""
    least = np.eye(3)[np.argmin(np.abs(direction))]
    right = np.cross(least, direction)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(direction, right), direction])


def _tile_from_world(rays: Floats, radius: float) -> Floats:
    """(R, 4, 4) parallel projections that look against each ray at the ball of this radius at the origin."""
    tiles = np.zeros((len(rays), 4, 4), np.float32)
    for tile, ray in zip(tiles, rays, strict=True):
        tile[:3, :3] = _frame(ray) / radius
        tile[2] *= -1
        tile[3, 3] = 1
    return tiles


def _corners(vertices: Floats) -> Floats:
    """(8, 3) corners of the box around vertices (V, 3)."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    chosen = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)], bool)
    return np.where(chosen, high, low)


Rectangle = tuple[int, int, int, int]


def _rectangle(corners: Floats, clip_from_world: Floats, width: int, height: int) -> Rectangle:
    """The pixels (x, y, width, height) within which all lies that these corners enclose."""
    clip = np.concatenate([corners, np.ones((len(corners), 1), np.float32)], axis=1) @ clip_from_world.T
    if clip[:, 3].min() < NEAR:  # some of it is behind the camera
        return 0, 0, width, height
    places = (clip[:, :2] / clip[:, 3:] + 1) / 2 * [width, height]
    low = np.floor(places.min(axis=0)).astype(int).clip(0, [width, height])
    high = np.ceil(places.max(axis=0)).astype(int).clip(0, [width, height])
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def _clip_from_world(cameras: Cameras) -> Floats:
    """(N, 4, 4) OpenGL's clip space from the world; image rows run downwards in it, as they do in memory."""
    fx, fy, cx, cy = (k.numpy().astype(np.float64) for k in cameras.intrinsics.unbind(-1))
    clip = np.zeros((len(cameras), 4, 4))
    clip[:, 0, 0] = 2 * fx / cameras.width
    clip[:, 1, 1] = 2 * fy / cameras.height
    clip[:, 0, 2] = 2 * cx / cameras.width - 1
    clip[:, 1, 2] = 2 * cy / cameras.height - 1
    clip[:, 2, 2] = (FAR + NEAR) / (FAR - NEAR)
    clip[:, 2, 3] = -2 * FAR * NEAR / (FAR - NEAR)
    clip[:, 3, 2] = 1.0
    return (clip @ cameras.w2c.numpy().astype(np.float64)).astype(np.float32)
