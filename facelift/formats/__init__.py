"""Files in and out: one module per format, every write complete or not there at all."""
