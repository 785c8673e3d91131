# Frames of YouTube-VIS 2019 as mmtrack feeds them; the task names the folders.
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type="LoadMultiImagesFromFile", to_float32=True),
    dict(type="SeqLoadAnnotations", with_bbox=True, with_mask=True, with_track=True),
    dict(type="SeqResize", share_params=True, img_scale=(640, 360), keep_ratio=True),
    dict(type="SeqRandomFlip", share_params=True, flip_ratio=0.5),
    dict(type="SeqNormalize", **img_norm_cfg),
    dict(type="SeqPad", size_divisor=32),
    dict(type="VideoCollect", keys=["img", "gt_bboxes", "gt_labels", "gt_masks", "gt_instance_ids"]),
    dict(type="SeqDefaultFormatBundle", ref_prefix="ref"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="MultiScaleFlipAug",
        img_scale=(640, 360),
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
]
data = dict(
    samples_per_gpu=1,
    workers_per_gpu=2,
    train=dict(
        type="YouTubeVISDataset",
        dataset_version="2019",
        ann_file="data/youtube_vis_2019/annotations/youtube_vis_2019_train.json",
        img_prefix="data/youtube_vis_2019/train/JPEGImages",
        ref_img_sampler=dict(num_ref_imgs=1, frame_range=100, filter_key_img=True, method="uniform"),
        pipeline=train_pipeline,
    ),
    test=dict(
        type="YouTubeVISDataset",
        dataset_version="2019",
        ann_file="data/youtube_vis_2019/annotations/youtube_vis_2019_valid.json",
        img_prefix="data/youtube_vis_2019/valid/JPEGImages",
        ref_img_sampler=None,
        pipeline=test_pipeline,
    ),
)
