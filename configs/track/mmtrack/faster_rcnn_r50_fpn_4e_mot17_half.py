# The detector of Tracktor and DeepSORT: mmtrack 0.14's det/faster-rcnn_r50_fpn_4e_mot17-half.py, except that
# it starts from the backbone under test and not from a detector trained on COCO.
_base_ = ["faster_rcnn_r50_fpn.py", "runtime.py"]
USE_MMDET = True  # read by mmtrack's tools/train.py
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type="LoadImageFromFile", to_float32=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="Resize", img_scale=(1088, 1088), ratio_range=(0.8, 1.2), keep_ratio=True, bbox_clip_border=False
    ),
    dict(type="PhotoMetricDistortion"),
    dict(type="RandomCrop", crop_size=(1088, 1088), bbox_clip_border=False),
    dict(type="RandomFlip", flip_ratio=0.5),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="Pad", size_divisor=32),
    dict(type="DefaultFormatBundle"),
    dict(type="Collect", keys=["img", "gt_bboxes", "gt_labels"]),
]
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=2,
    train=dict(
        type="CocoDataset",
        ann_file="data/MOT17/annotations/half-train_cocoformat.json",
        img_prefix="data/MOT17/train",
        classes=("pedestrian",),
        pipeline=train_pipeline,
    ),
)
lr_config = dict(policy="step", warmup="linear", warmup_iters=100, warmup_ratio=1.0 / 100, step=[3])
total_epochs = 4
