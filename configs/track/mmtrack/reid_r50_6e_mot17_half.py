# The re-identification network of Tracktor and DeepSORT: mmtrack 0.14's reid/resnet50_b32x8_MOT17.py, except
# that it starts from the backbone under test, and that its pedestrians are cut out of the training half
# alone (mmtrack's own come from the whole of MOT17's training videos, the tested half included).
_base_ = ["runtime.py"]
TRAIN_REID = True  # read by mmtrack's tools/train.py
model = dict(
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
            num_classes=380,  # the task puts the number of people here
            loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
            loss_pairwise=dict(type="TripletLoss", margin=0.3, loss_weight=1.0),
            norm_cfg=dict(type="BN1d"),
            act_cfg=dict(type="ReLU"),
        ),
    )
)
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type="LoadMultiImagesFromFile", to_float32=True),
    dict(
        type="SeqResize",
        img_scale=(128, 256),
        share_params=False,
        keep_ratio=False,
        bbox_clip_border=False,
        override=False,
    ),
    dict(type="SeqRandomFlip", share_params=False, flip_ratio=0.5, direction="horizontal"),
    dict(type="SeqNormalize", **img_norm_cfg),
    dict(type="VideoCollect", keys=["img", "gt_label"]),
    dict(type="ReIDFormatBundle"),
]
data = dict(
    samples_per_gpu=1,
    workers_per_gpu=2,
    train=dict(
        type="ReIDDataset",
        triplet_sampler=dict(num_ids=8, ins_per_id=4),
        data_prefix="data/MOT17/reid/imgs",
        ann_file="data/MOT17/reid/meta/train_80.txt",
        pipeline=train_pipeline,
    ),
)
optimizer = dict(lr=0.1)
lr_config = dict(policy="step", warmup="linear", warmup_iters=1000, warmup_ratio=1.0 / 1000, step=[5])
total_epochs = 6
