# Small frames, one by one, for testing a tracker; in pairs for training one.
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=0,
    train=dict(
        type="MOTChallengeDataset",
        visibility_thr=-1,
        ann_file="data/mini/mot/annotations/train.json",
        img_prefix="data/mini/mot/train",
        ref_img_sampler=dict(num_ref_imgs=1, frame_range=3, filter_key_img=True, method="uniform"),
        pipeline=[
            dict(type="LoadMultiImagesFromFile", to_float32=True),
            dict(type="SeqLoadAnnotations", with_bbox=True, with_track=True),
            dict(type="SeqResize", img_scale=(192, 192), share_params=True, keep_ratio=True),
            dict(type="SeqRandomFlip", share_params=True, flip_ratio=0.0),
            dict(type="SeqNormalize", **img_norm_cfg),
            dict(type="SeqPad", size_divisor=32),
            dict(type="MatchInstances", skip_nomatch=True),
            dict(
                type="VideoCollect",
                keys=["img", "gt_bboxes", "gt_labels", "gt_match_indices", "gt_instance_ids"],
            ),
            dict(type="SeqDefaultFormatBundle", ref_prefix="ref"),
        ],
    ),
    test=dict(
        type="MOTChallengeDataset",
        ann_file="data/mini/mot/annotations/val.json",
        img_prefix="data/mini/mot/val",
        ref_img_sampler=None,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(
                type="MultiScaleFlipAug",
                img_scale=(192, 192),
                flip=False,
                transforms=[
                    dict(type="Resize", keep_ratio=True),
                    dict(type="RandomFlip"),
                    dict(type="Normalize", **img_norm_cfg),
                    dict(type="Pad", size_divisor=32),
                    dict(type="ImageToTensor", keys=["img"]),
                    dict(type="VideoCollect", keys=["img"]),
                ],
            ),
        ],
    ),
)
