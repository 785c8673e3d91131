# DeepSORT (Wojke et al., ICIP 2017) on its own detections: mmtrack 0.14's
# mot/deepsort/deepsort_faster-rcnn_fpn_4e_mot17-private-half.py without the weights that file downloads.
# Nothing is trained here: detector and re-identification network come from the two files named beside this
# one in the YAML. BorderSortTracker is SortTracker without its crash on a box that has no pixel in the
# image.
_base_ = ["faster_rcnn_r50_fpn.py", "mot17_half.py", "runtime.py"]
model = dict(
    type="DeepSORT",
    reid=dict(
        type="BaseReID",
        backbone=dict(type="ResNet", depth=50, num_stages=4, out_indices=(3,), style="pytorch"),
        neck=dict(type="GlobalAveragePooling", kernel_size=(8, 4), stride=1),
        head=dict(
            type="LinearReIDHead",
            num_fcs=1,
            in_channels=2048,
            fc_channels=1024,
            out_channels=128,
            num_classes=380,
            loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
            loss_pairwise=dict(type="TripletLoss", margin=0.3, loss_weight=1.0),
            norm_cfg=dict(type="BN1d"),
            act_cfg=dict(type="ReLU"),
        ),
    ),
    motion=dict(type="KalmanFilter", center_only=False),
    tracker=dict(
        type="BorderSortTracker",
        obj_score_thr=0.5,
        reid=dict(num_samples=10, img_scale=(256, 128), img_norm_cfg=None, match_score_thr=2.0),
        match_iou_thr=0.5,
        momentums=None,
        num_tentatives=2,
        num_frames_retain=100,
    ),
)
