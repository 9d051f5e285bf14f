"""What a head on disk is: its schema, how heads are stored and read, which may be trained on; backgrounds."""
