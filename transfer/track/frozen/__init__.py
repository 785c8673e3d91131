"""Tracking by the features of a backbone that learns nothing more: the protocol of UniTrack, five tasks."""
