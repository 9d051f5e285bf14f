"""The mesh itself, and the files that it is written as: .obj, .glb, .stl, .usdz."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelift.errors import UserError
from facelift.formats.files import PathLike, atomic_path

DEFAULT_FACES = 20_000
"""How many triangles a mesh has, where no number is named."""

DEFAULT_TEXTURE_SIZE = 1024
"""Side of a mesh's texture in pixels, where no number is named."""


@dataclass(frozen=True)
class Mesh:
    """One closed surface of F triangles, textured; in metres, y up, the face looks along +z.

    The surface is watertight as `vertices` and `faces` have it. A texture cannot be laid around it without
    cuts, so the corners of triangles have places in the texture of their own, as in OBJ.

    Attributes:
        vertices: (V, 3) float32, metres.
        faces: (F, 3) int32, vertices of the triangles, counter-clockwise as seen from outside.
        normals: (V, 3) float32, unit vectors that point outwards.
        uv: (U, 2) float32, places in the texture, in [0, 1]; v upwards from the last row of it.
        uv_faces: (F, 3) int32, rows of `uv` for the corners of the triangles.
        texture: (S, S, 3) uint8, sRGB.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    uv: NDArray[np.float32]
    uv_faces: NDArray[np.int32]
    texture: NDArray[np.uint8]

    def save(self, path: PathLike) -> None:
        """Write it as what the name ends in, see `write_mesh`."""
        write_mesh(path, self)

    def split(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Vertices, normals and uv, (U, ...), for `uv_faces`: on cuts there are several at one place."""
        vertex = np.empty(len(self.uv), np.int32)
        vertex[self.uv_faces] = self.faces
        return self.vertices[vertex], self.normals[vertex], self.uv


def vertex_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """(V, 3) unit normals: the mean of the triangles around, weighted by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    index = faces.T.reshape(-1)
    summed = np.stack([np.bincount(index, np.tile(flat[:, k], 3), len(vertices)) for k in range(3)], axis=1)
    return (summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-20)).astype(np.float32)


def write_mesh(path: PathLike, mesh: Mesh) -> None:
    """Write a mesh in metres, y up, the face towards +z.

    - `.obj` with `.mtl` and `.png` of the same name beside it, in which white space is an underscore;
    - `.glb`, glTF's single file; its material is unlit, for the texture has the light of the photo in it;
    - `.stl`, the shape alone, for printers;
    - `.usdz` for Apple's devices and USD; needs the extra `usd`.

    Raises:
        UserError: the name has another end, the file cannot be written, or the extra is not installed.
    """
    if not is_mesh_name(path):
        known = ", ".join(MESH_FORMATS)
        raise UserError(f"No mesh is written as {path}: let its name end in {known}.")
    MESH_FORMATS[Path(path).suffix.lower()].write(Path(path), mesh)


def is_mesh_name(path: PathLike) -> bool:
    """Whether `write_mesh` knows what the name ends in."""
    return Path(path).suffix.lower() in MESH_FORMATS


def files_of_mesh(path: PathLike) -> list[Path]:
    """All files that `write_mesh` writes for this name: with an `.obj`, its material and its picture."""
    path = Path(path)
    if path.suffix.lower() != ".obj":
        return [path]
    name = re.sub(r"\s", "_", path.stem)  # readers take white space for the end of a name
    return [path, path.with_name(f"{name}.mtl"), path.with_name(f"{name}.png")]


def _write_obj(path: Path, mesh: Mesh) -> None:
    """By hand, for a vertex that lies on a cut of the texture is one vertex here: the file is watertight."""
    _, material, picture = files_of_mesh(path)
    with atomic_path(picture) as aside:
        Image.fromarray(mesh.texture).save(aside)
    with atomic_path(material) as aside:
        text = f"newmtl head\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture.name}\n"
        aside.write_text(text, encoding="utf-8")
    with atomic_path(path) as aside, open(aside, "w", encoding="utf-8", newline="\n") as file:
        file.write(f"mtllib {material.name}\no head\nusemtl head\ns 1\n")
        np.savetxt(file, mesh.vertices, "v %.6f %.6f %.6f")
        np.savetxt(file, mesh.uv, "vt %.6f %.6f")
        np.savetxt(file, mesh.normals, "vn %.4f %.4f %.4f")
        corners = np.stack([mesh.faces, mesh.uv_faces, mesh.faces], axis=-1).reshape(-1, 9) + 1
        np.savetxt(file, corners, "f %d/%d/%d %d/%d/%d %d/%d/%d")


def _write_glb(path: Path, mesh: Mesh) -> None:
    import trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    vertices, normals, uv = mesh.split()
    material = PBRMaterial(
        name="head",
        baseColorTexture=Image.fromarray(mesh.texture),
        metallicFactor=0.0,
        roughnessFactor=1.0,
    )
    textured = trimesh.Trimesh(
        vertices, mesh.uv_faces, vertex_normals=normals, visual=TextureVisuals(uv, material), process=False
    )

    def unlit(tree: dict[str, Any]) -> None:
        tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), "KHR_materials_unlit"]
        for entry in tree["materials"]:
            entry["extensions"] = {"KHR_materials_unlit": {}}

    content = trimesh.exchange.gltf.export_glb(
        trimesh.Scene([textured]), include_normals=True, tree_postprocessor=unlit
    )
    with atomic_path(path) as aside:
        aside.write_bytes(content)


def _write_stl(path: Path, mesh: Mesh) -> None:
    import trimesh

    content = trimesh.exchange.stl.export_stl(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False))
    with atomic_path(path) as aside:
        aside.write_bytes(content)


def _write_usdz(path: Path, mesh: Mesh) -> None:
    try:
        from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade, UsdUtils, Vt
    except ImportError:
        raise UserError("USDZ needs usd-core: pip install 'facelift[usd]'.") from None
    with TemporaryDirectory() as folder, atomic_path(path) as aside:
        layer = str(Path(folder, "head.usdc"))
        Image.fromarray(mesh.texture).save(Path(folder, "head.png"))
        stage = Usd.Stage.CreateNew(layer)
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/head").GetPrim())
        shape = UsdGeom.Mesh.Define(stage, "/head/mesh")
        shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(mesh.vertices))
        shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(mesh.faces), 3, np.int32)))
        shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.reshape(-1)))
        shape.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(mesh.normals))
        shape.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
        shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        shape.CreateExtentAttr(UsdGeom.PointBased.ComputeExtent(shape.GetPointsAttr().Get()))
        places = UsdGeom.PrimvarsAPI(shape).CreatePrimvar(
            "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying
        )
        places.Set(Vt.Vec2fArray.FromNumpy(mesh.uv))
        places.SetIndices(Vt.IntArray.FromNumpy(mesh.uv_faces.reshape(-1)))

        material = UsdShade.Material.Define(stage, "/head/material")
        surface = UsdShade.Shader.Define(stage, "/head/material/surface")
        surface.CreateIdAttr("UsdPreviewSurface")
        surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(1.0)
        surface.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
        reader = UsdShade.Shader.Define(stage, "/head/material/st")
        reader.CreateIdAttr("UsdPrimvarReader_float2")
        reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
        picture = UsdShade.Shader.Define(stage, "/head/material/texture")
        picture.CreateIdAttr("UsdUVTexture")
        picture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(Sdf.AssetPath("head.png"))
        picture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
        picture.CreateInput("fallback", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(0.5, 0.5, 0.5, 1))
        picture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(
            reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
        )
        surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(
            picture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
        )
        material.CreateSurfaceOutput().ConnectToSource(
            surface.CreateOutput("surface", Sdf.ValueTypeNames.Token)
        )
        UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(material)
        stage.Save()
        if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(layer), str(aside)):
            raise UserError(f"Cannot write {path}: usd-core made no package of it.")


@dataclass(frozen=True)
class MeshFormat:
    """A kind of file that holds a mesh.

    Attributes:
        name: what people call it.
        write: takes a path and the mesh.
    """

    name: str
    write: Callable[[Path, Mesh], None]


MESH_FORMATS = {
    ".obj": MeshFormat("OBJ mesh", _write_obj),
    ".glb": MeshFormat("glTF mesh", _write_glb),
    ".stl": MeshFormat("STL mesh", _write_stl),
    ".usdz": MeshFormat("USDZ mesh", _write_usdz),
}
"""What writes a mesh, by the end of the name."""
