# SiamRPN++ (Li et al., CVPR 2019, arXiv 1812.11703) as mmtrack 0.14 trains it, cut to a minute on two cores.
# Protocol: siamrpn-frozen-mini, this project's own; no published number is comparable.
# As in the original (mmtrack's siamese_rpn_r50_20e_lasot.py): region proposals over three stages at stride 8
# (res3 to res5, the last two dilated), depth-wise correlation, losses, pair sampling, test-time penalties.
# What differs: mmdet's ResNet instead of mmtrack's SOTResNet, which exists for depth 50 only; a backbone that
# stays frozen, so that its features are what is compared; inputs normalised as the backbone was trained
# (the original feeds 0..255 BGR); crops of half the size, with anchors to match; few iterations; no blur.
# Why 65 and 129 pixels, not 63 and 127: mmdet's ResNet pads its stem, so cell i looks at pixel 8i, and only
# sizes of 16k + 1 put a cell on the centre of both crops; otherwise the response lies one cell (8 px) off.
# Filled in by the task (transfer/track/mm/sot.py): backbone depth and weights, neck channels, normalisation,
# seed, work_dir. Everything else may be overridden by `options` of the YAML file that names this one.
# Command, hardware, time and measured number: configs/track/sot_mini.yaml.
exemplar_size = 65
search_size = 129
crop_size = 257
img_norm_cfg = dict(mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0], to_rgb=True)

model = dict(
    type="SiamRPN",
    backbone=dict(
        type="ResNet",
        depth=18,
        style="pytorch",
        out_indices=(1, 2, 3),
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        frozen_stages=4,
        norm_eval=True,
    ),
    neck=dict(
        type="ChannelMapper",
        in_channels=[128, 256, 512],
        out_channels=256,
        kernel_size=1,
        norm_cfg=dict(type="BN"),
        act_cfg=None,
    ),
    head=dict(
        type="SiameseRPNHead",
        anchor_generator=dict(
            type="SiameseRPNAnchorGenerator", strides=[8], ratios=[0.33, 0.5, 1, 2, 3], scales=[4]
        ),
        in_channels=[256, 256, 256],
        weighted_sum=True,
        bbox_coder=dict(
            type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[1.0, 1.0, 1.0, 1.0]
        ),
        loss_cls=dict(type="CrossEntropyLoss", reduction="sum", loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", reduction="sum", loss_weight=1.2),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.6,
                neg_iou_thr=0.3,
                min_pos_iou=0.6,
                match_low_quality=False,
            ),
            sampler=dict(type="RandomSampler", num=64, pos_fraction=0.25, add_gt_as_proposals=False),
            num_neg=16,
            exemplar_size=exemplar_size,
            search_size=search_size,
        )
    ),
    test_cfg=dict(
        exemplar_size=exemplar_size,
        search_size=search_size,
        context_amount=0.5,
        center_size=7,
        rpn=dict(penalty_k=0.05, window_influence=0.42, lr=0.38),
    ),
)

train_pipeline = [
    dict(type="PairSampling", frame_range=100, pos_prob=0.8, filter_template_img=False),
    dict(type="LoadMultiImagesFromFile", to_float32=True),
    dict(type="SeqLoadAnnotations", with_bbox=True, with_label=False),
    dict(type="SeqCropLikeSiamFC", context_amount=0.5, exemplar_size=exemplar_size, crop_size=crop_size),
    dict(
        type="SeqShiftScaleAug", target_size=[exemplar_size, search_size], shift=[2, 32], scale=[0.05, 0.18]
    ),
    dict(type="SeqColorAug", prob=[1.0, 1.0]),
    dict(type="SeqNormalize", **img_norm_cfg),
    dict(type="VideoCollect", keys=["img", "gt_bboxes", "is_positive_pairs"]),
    dict(type="ConcatSameTypeFrames"),
    dict(type="SeqDefaultFormatBundle", ref_prefix="search"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", to_float32=True),
    dict(type="LoadAnnotations", with_bbox=True, with_label=False),
    dict(
        type="MultiScaleFlipAug",
        scale_factor=1,
        flip=False,
        transforms=[
            dict(type="Normalize", **img_norm_cfg),
            dict(type="VideoCollect", keys=["img", "gt_bboxes"]),
            dict(type="ImageToTensor", keys=["img"]),
        ],
    ),
]
data = dict(
    samples_per_gpu=16,
    workers_per_gpu=0,
    samples_per_epoch=160,
    train=dict(
        type="SequenceFolder",
        img_prefix="data/mini/sot",
        ann_file="data/mini/sot/train.txt",
        split="train",
        pipeline=train_pipeline,
        test_mode=False,
    ),
    test=dict(
        type="SequenceFolder",
        img_prefix="data/mini/sot",
        ann_file="data/mini/sot/val.txt",
        split="test",
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

optimizer = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0001)
optimizer_config = dict(grad_clip=dict(max_norm=10.0, norm_type=2))
lr_config = dict(policy="step", step=[3], warmup="linear", warmup_iters=5, warmup_ratio=0.2)
total_epochs = 4
workflow = [("train", 1)]
checkpoint_config = None
custom_hooks = [dict(type="FiniteLoss")]
log_config = dict(interval=5, hooks=[dict(type="TextLoggerHook")])
log_level = "INFO"
load_from = None
resume_from = None
