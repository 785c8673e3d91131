# DeepSORT on faster_rcnn_small.py. The re-identification network is the backbone as it was pre-trained,
# pooled to one unit vector: most sets that are small enough for this file have too few people to train one.
_base_ = ["faster_rcnn_small.py", "frames_small.py"]
model = dict(
    type="DeepSORT",
    motion=dict(type="KalmanFilter", center_only=False),
    reid=dict(
        type="BaseReID",
        backbone=dict(type="ResNet", num_stages=4, out_indices=(3,), style="pytorch"),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="UnitFeatureHead"),
    ),
    tracker=dict(
        type="BorderSortTracker",
        obj_score_thr=0.5,
        reid=dict(num_samples=10, img_scale=(64, 64), img_norm_cfg=None, match_score_thr=2.0),
        match_iou_thr=0.5,
        momentums=None,
        num_tentatives=2,
        num_frames_retain=100,
    ),
)
