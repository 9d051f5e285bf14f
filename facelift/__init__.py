"""One photo of a face in, a complete 3D head out."""
