"""Tracking with mmtrack; the only place that names mmcv, mmdet and mmtrack."""
