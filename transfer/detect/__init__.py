"""Detection and instance segmentation with detectron2; the only place that names it."""
