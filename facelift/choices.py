"""The values of options that name a choice, each set declared once.

Signatures of the library and options of the command both read them from here. Nothing heavy is imported, so
that `facelift --help` answers at once. `typing.get_args` lists the values of one.
"""

from typing import Literal

DType = Literal["auto", "float32", "bfloat16", "float16", "int8"]
"""What to compute in; "auto" is the model's own choice for the device. "int8" is the same with the U-Net's
weights held in eight bits, for machines with little memory."""

Memory = Literal["auto", "fast", "sliced", "offload"]
"""How much of a GPU's memory to take, see `facelift.devices.choose_memory`."""

Scheduler = Literal["ddim", "dpm++"]
"""How to denoise, see `facelift.views.ViewGenerator.generate`."""

Matting = Literal["auto", "grabcut", "rembg", "none"]
"""How to remove the background, see `facelift.portrait.prepare_portrait`."""

CameraPath = Literal["still", "turntable", "spiral", "dolly"]
"""How the camera of a video moves, see `facelift.camera_paths`."""

OutputType = Literal["color", "depth", "normals"]
"""What pictures of Gaussians show, see `facelift.pictures`."""

Rig = Literal["canonical", "orbit", "overhead", "photo", "all"]
"""Where the cameras of a synthetic head stand: one of four rigs, or all of them."""

Truth = Literal["all", "depth"]
"""What is written beside a synthetic head's images, cameras and person: everything, or the depth alone."""

Align = Literal["auto", "cameras", "landmarks"]
"""How heads come into the frame of a benchmark, see `facelift.evaluate.benchmarks.sample.Choice`."""

Storage = Literal["folders", "shards"]
"""How heads lie on the disk: a folder a head, or WebDataset shards of fifty."""

RendererName = Literal["opengl", "cycles"]
"""What draws synthetic heads."""

Stage = Literal["autoencoder", "views", "decoder", "reconstructor", "portrait", "features"]
"""The part of a model that a training is for."""

PlyLayout = Literal["standard", "inria", "facelift"]
"""How a PLY file lists its Gaussians, see `facelift.formats.ply.write_ply`."""

Frame = Literal["world", "RDF", "RUB"]
"""Axes of a file. `world` is ours: x right, y back, z up, the face looks along -y. `RDF` (right, down,
forward) is that of COLMAP and 3D Gaussian Splatting: the face looks along -z. `RUB` (right, up, back) is
OpenGL's, glTF's and SPZ's: the face looks along +z."""
