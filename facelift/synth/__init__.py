"""Synthetic heads: sample a person, build the meshes, light them, draw them, write them to folders."""
