# Training of the detector in faster_rcnn_small.py. What the YAML files change, they change by `options`.
_base_ = ["faster_rcnn_small.py"]
USE_MMDET = True
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
data = dict(
    samples_per_gpu=4,
    workers_per_gpu=0,
    train=dict(
        type="CocoDataset",
        ann_file="data/mini/mot/annotations/train.json",
        img_prefix="data/mini/mot/train",
        classes=("pedestrian",),
        pipeline=[
            dict(type="LoadImageFromFile", to_float32=True),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="Resize", img_scale=(192, 192), keep_ratio=True),
            dict(type="RandomFlip", flip_ratio=0.5),
            dict(type="Normalize", **img_norm_cfg),
            dict(type="Pad", size_divisor=32),
            dict(type="DefaultFormatBundle"),
            dict(type="Collect", keys=["img", "gt_bboxes", "gt_bboxes_ignore", "gt_labels"]),
        ],
    ),
)
optimizer = dict(_delete_=True, type="AdamW", lr=3e-4, weight_decay=0.05)
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=10.0))
lr_config = dict(
    policy="CosineAnnealing",
    by_epoch=False,
    min_lr_ratio=0.01,
    warmup="linear",
    warmup_iters=10,
    warmup_ratio=0.1,
)
runner = dict(type="IterBasedRunner", max_iters=100)
log_config = dict(_delete_=True, interval=20, hooks=[dict(type="TextLoggerHook", by_epoch=False)])
checkpoint_config = dict(by_epoch=False, interval=50)
