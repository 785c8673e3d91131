# Tracktor on faster_rcnn_small.py and reid_small.py.
_base_ = ["faster_rcnn_small.py", "frames_small.py"]
model = dict(
    type="Tracktor",
    reid=dict(
        type="BaseReID",
        backbone=dict(type="ResNet", depth=50, num_stages=4, out_indices=(3,), style="pytorch"),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(
            type="LinearReIDHead",
            num_fcs=1,
            in_channels=2048,
            fc_channels=128,
            out_channels=64,
            num_classes=380,
            loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
            loss_pairwise=dict(type="TripletLoss", margin=0.3, loss_weight=1.0),
            norm_cfg=dict(type="BN1d"),
            act_cfg=dict(type="ReLU"),
        ),
    ),
    motion=dict(
        type="CameraMotionCompensation", warp_mode="cv2.MOTION_EUCLIDEAN", num_iters=100, stop_eps=0.00001
    ),
    tracker=dict(
        type="BorderTracktorTracker",
        obj_score_thr=0.5,
        regression=dict(obj_score_thr=0.5, nms=dict(type="nms", iou_threshold=0.6), match_iou_thr=0.3),
        reid=dict(
            num_samples=10, img_scale=(64, 32), img_norm_cfg=None, match_score_thr=2.0, match_iou_thr=0.2
        ),
        momentums=None,
        num_frames_retain=10,
    ),
)
