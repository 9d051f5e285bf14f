"""A head's mesh in Blender, with a camera where the photo's stood and, on request, a light.

    blender --python import_head.py -- head.glb
    blender --background --python import_head.py -- head.glb --azimuth 30 --render head.png

Without Blender's own program, `pip install bpy` brings it into Python: `python import_head.py head.glb ...`.

The texture has the light of the photo in it, so the mesh shines by itself and no lamp changes it; `--lit`
makes its surface matt instead and puts a lamp above the camera.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import bpy
from mathutils import Euler, Vector

UNIT = 0.20  # metres; FaceLift's cameras stand in these units
RADIUS, FOV_DEGREES = 2.7, 50.0


def main() -> None:
    """Import, look, and draw if asked to."""
    given = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    parser = argparse.ArgumentParser(prog="import_head.py", description=__doc__.split("\n")[0])
    parser.add_argument("mesh", type=Path, help="a .glb or .obj of FaceLift's")
    parser.add_argument("--lit", action="store_true", help="a matt surface under a lamp")
    parser.add_argument(
        "--azimuth", type=float, default=0.0, help="of the camera, degrees to the subject's right"
    )
    parser.add_argument("--elevation", type=float, default=0.0, help="of the camera, degrees")
    parser.add_argument("--render", type=Path, metavar="PNG", help="draw it with Cycles")
    parser.add_argument("--size", type=int, default=1024, help="of that picture, pixels")
    options = parser.parse_args(given)
    if not options.mesh.is_file():
        parser.error(f"there is no file {options.mesh}")
    if options.mesh.suffix.lower() not in (".glb", ".obj"):
        parser.error(f"{options.mesh.name} is neither .glb nor .obj")

    clear_scene()
    head = import_mesh(options.mesh)
    set_material(head, options.lit)
    add_camera(options.azimuth, options.elevation)
    if options.lit:
        add_lamp()
    set_render(options.size)
    if options.render:
        bpy.context.scene.render.filepath = str(options.render.resolve())
        bpy.ops.render.render(write_still=True)


def clear_scene() -> None:
    """Delete what is there: the cube, camera and lamp of a new file."""
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing, do_unlink=True)


def import_mesh(path: Path) -> bpy.types.Object:
    """The mesh, upright: Blender turns y up to z up, so the face looks along -y, to its front view."""
    if path.suffix.lower() == ".glb":
        bpy.ops.import_scene.gltf(filepath=str(path.resolve()))
    else:
        bpy.ops.wm.obj_import(filepath=str(path.resolve()))
    meshes = [thing for thing in bpy.data.objects if thing.type == "MESH" and thing.data.polygons]
    if not meshes:
        raise SystemExit(f"{path} holds no mesh, perhaps splats: write it with `facelift export --mesh`.")
    meshes[0].name = "Head"
    return meshes[0]


def set_material(head: bpy.types.Object, lit: bool) -> None:
    """The baked texture, shining as it is or on a matt surface."""
    material = head.data.materials[0]
    pictures = [node.image for node in material.node_tree.nodes if node.type == "TEX_IMAGE"]
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    texture, output = nodes.new("ShaderNodeTexImage"), nodes.new("ShaderNodeOutputMaterial")
    texture.image = pictures[0]
    surface = nodes.new("ShaderNodeBsdfPrincipled" if lit else "ShaderNodeEmission")
    if lit:
        surface.inputs["Roughness"].default_value = 0.7
    links.new(texture.outputs["Color"], surface.inputs["Base Color" if lit else "Color"])
    links.new(surface.outputs[0], output.inputs["Surface"])


def add_camera(azimuth: float, elevation: float) -> None:
    """FaceLift's camera: 54 cm from the origin, 50 degrees wide; 0, 0 is where the photo was taken from."""
    data = bpy.data.cameras.new("Photo's view")
    data.angle, data.clip_start = math.radians(FOV_DEGREES), 0.01
    camera = bpy.data.objects.new("Photo's view", data)
    camera.rotation_euler = Euler((math.radians(90 - elevation), 0, math.radians(-azimuth)))
    camera.location = camera.rotation_euler.to_matrix() @ Vector((0, 0, UNIT * RADIUS))
    bpy.context.collection.objects.link(camera)
    bpy.context.scene.camera = camera


def add_lamp() -> None:
    """A soft lamp half a metre across, in front of the head, above it and to one side."""
    data = bpy.data.lights.new("Lamp", "AREA")
    data.energy, data.size = 12.0, 0.5
    lamp = bpy.data.objects.new("Lamp", data)
    lamp.location = (-0.4, -0.7, 0.5)
    lamp.rotation_euler = (-lamp.location).to_track_quat("-Z", "Y").to_euler()
    bpy.context.collection.objects.link(lamp)


def set_render(size: int) -> None:
    """Square, on a transparent background, in the texture's own colours."""
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples = "CYCLES", 32
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"  # others give every colour a look


if __name__ == "__main__":
    main()
