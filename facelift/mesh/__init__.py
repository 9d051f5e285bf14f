"""Meshes for tools that know no splats: one closed surface with a texture, from a head's Gaussians."""
