# The re-identification network of the published recipe on small crops, 16 of four people in a step.
_base_ = ["reid_r50_6e_mot17_half.py"]
gpus = 1
model = dict(
    reid=dict(
        neck=dict(_delete_=True, type="GlobalAveragePooling"),
        head=dict(fc_channels=128, out_channels=64),
    )
)
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
data = dict(
    workers_per_gpu=0,
    train=dict(
        triplet_sampler=dict(num_ids=4, ins_per_id=4),
        pipeline=[
            dict(type="LoadMultiImagesFromFile", to_float32=True),
            dict(type="SeqResize", img_scale=(32, 64), share_params=False, keep_ratio=False, override=False),
            dict(type="SeqRandomFlip", share_params=False, flip_ratio=0.0, direction="horizontal"),
            dict(type="SeqNormalize", **img_norm_cfg),
            dict(type="VideoCollect", keys=["img", "gt_label"]),
            dict(type="ReIDFormatBundle"),
        ],
    ),
)
optimizer = dict(lr=0.01)
lr_config = dict(by_epoch=False, warmup_iters=10, warmup_ratio=0.1, step=[80])
runner = dict(type="IterBasedRunner", max_iters=100)
log_config = dict(_delete_=True, interval=20, hooks=[dict(type="TextLoggerHook", by_epoch=False)])
checkpoint_config = dict(by_epoch=False, interval=50)
