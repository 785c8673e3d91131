"""Trackers of mmtrack that carry the backbone; the only place that names mmcv, mmdet and mmtrack."""
