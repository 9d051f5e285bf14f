"""Public benchmarks of this field, and heads of other systems beside ours.

capture      what the readers of all benchmarks give: calibrated cameras and their pictures
ava256, nersemble, cafca, facescape    one reader each, of the layout that its owner distributes
faces        landmarks of a face in space
square       the views in FaceLift's canonical frame
sample       a capture, ready to be measured on
alignment    similarities between frames
answers      heads of other systems, as files of Gaussians
run          the measurement
"""
