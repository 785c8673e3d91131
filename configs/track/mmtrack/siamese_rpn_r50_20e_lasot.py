# SiamRPN++ (Li et al., CVPR 2019, arXiv 1812.11703) with a ResNet-50 for LaSOT as mmtrack 0.14 publishes it.
# Protocol: siamrpn-lasot. Source: mmtrack, configs/sot/siamese_rpn/siamese_rpn_r50_20e_lasot.py; every key is
# compared with that file by tests/test_sot_published.py, which lists what differs:
#   - the backbone's weights: mmtrack's address of a supervised ResNet-50 is gone, the task fills in the
# backbone     under test; mmtrack's published numbers are of those other weights, so none of them is
# comparable   - pixels are normalised as the backbone was trained (mmtrack feeds 0..255 BGR, as its weights
# want it)   - LaSOT is read from its own folders (no list of frame ranges), and there is no separate `val`
#   - which epoch is reported is the YAML file's `select`: mmtrack tests epochs 10 to 20 on the test set and
#     keeps the best (`best-test`); `last` is the default here
#   - the batch of 8 GPUs x 28 pairs is `pairs_per_batch`, whatever the number of processes
# The backbone is frozen for ten epochs; then layer2 to layer4 train at a tenth of the learning rate, with the
# statistics of their batch norms (mmtrack's SiameseRPNOptimizerHook). Variants: *_frozen.py, *_syncbn.py.
# Training data (600,000 pairs an epoch): ImageNet VID and DET as CocoVID JSON by mmtrack's
# tools/convert_datasets/ilsvrc, and COCO 2017.
# Command, hardware and measured number: configs/track/sot_lasot.yaml.
cudnn_benchmark = False
deterministic = True
find_unused_parameters = True
crop_size = 511
exemplar_size = 127
search_size = 255
pairs_per_batch = 8 * 28
img_norm_cfg = dict(mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0], to_rgb=True)

model = dict(
    type="SiamRPN",
    backbone=dict(
        type="SOTResNet",
        depth=50,
        out_indices=(1, 2, 3),
        frozen_stages=4,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        norm_eval=True,
    ),
    neck=dict(
        type="ChannelMapper",
        in_channels=[512, 1024, 2048],
        out_channels=256,
        kernel_size=1,
        norm_cfg=dict(type="BN"),
        act_cfg=None,
    ),
    head=dict(
        type="SiameseRPNHead",
        anchor_generator=dict(
            type="SiameseRPNAnchorGenerator", strides=[8], ratios=[0.33, 0.5, 1, 2, 3], scales=[8]
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

data_root = "data/"
train_pipeline = [
    dict(type="PairSampling", frame_range=100, pos_prob=0.8, filter_template_img=False),
    dict(type="LoadMultiImagesFromFile", to_float32=True),
    dict(type="SeqLoadAnnotations", with_bbox=True, with_label=False),
    dict(type="SeqCropLikeSiamFC", context_amount=0.5, exemplar_size=exemplar_size, crop_size=crop_size),
    dict(
        type="SeqShiftScaleAug", target_size=[exemplar_size, search_size], shift=[4, 64], scale=[0.05, 0.18]
    ),
    dict(type="SeqColorAug", prob=[1.0, 1.0]),
    dict(type="SeqBlurAug", prob=[0.0, 0.2]),
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
    samples_per_gpu=28,
    workers_per_gpu=4,
    samples_per_epoch=600000,
    train=dict(
        type="RandomSampleConcatDataset",
        dataset_sampling_weights=[0.25, 0.2, 0.55],
        dataset_cfgs=[
            dict(
                type="SOTImageNetVIDDataset",
                ann_file=data_root + "ILSVRC/annotations/imagenet_vid_train.json",
                img_prefix=data_root + "ILSVRC/Data/VID",
                pipeline=train_pipeline,
                split="train",
                test_mode=False,
            ),
            dict(
                type="SOTCocoDataset",
                ann_file=data_root + "coco/annotations/instances_train2017.json",
                img_prefix=data_root + "coco/train2017",
                pipeline=train_pipeline,
                split="train",
                test_mode=False,
            ),
            dict(
                type="SOTCocoDataset",
                ann_file=data_root + "ILSVRC/annotations/imagenet_det_30plus1cls.json",
                img_prefix=data_root + "ILSVRC/Data/DET",
                pipeline=train_pipeline,
                split="train",
                test_mode=False,
            ),
        ],
    ),
    test=dict(
        type="SequenceFolder",
        layout="lasot",
        benchmark="lasot",
        img_prefix=data_root + "lasot",
        ann_file=None,
        pipeline=test_pipeline,
        split="test",
        test_mode=True,
        only_eval_visible=True,
    ),
)

optimizer = dict(
    type="SGD",
    lr=0.005,
    momentum=0.9,
    weight_decay=0.0001,
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1, decay_mult=1.0))),
)
optimizer_config = dict(
    type="SiameseRPNOptimizerHook",
    backbone_start_train_epoch=10,
    backbone_train_layers=["layer2", "layer3", "layer4"],
    grad_clip=dict(max_norm=10.0, norm_type=2),
)
lr_config = dict(
    policy="SiameseRPN",
    lr_configs=[
        dict(type="step", start_lr_factor=0.2, end_lr_factor=1.0, end_epoch=5),
        dict(type="log", start_lr_factor=1.0, end_lr_factor=0.1, end_epoch=20),
    ],
)
evaluation = dict(metric=["track"], interval=1, start=10, rule="greater", save_best="success")
log_config = dict(interval=50, hooks=[dict(type="TextLoggerHook")])
custom_hooks = [dict(type="FiniteLoss")]
total_epochs = 20
log_level = "INFO"
load_from = None
resume_from = None
workflow = [("train", 1)]
