# DeepSORT in mmtrack 0.14 on Faster R-CNN with FPN from mmdet 2.28; both start from the backbone under test.
#
# Architecture and assignment rules are those of mmtrack's deepsort_faster-rcnn_fpn_4e_mot17-private-half.py.
# What differs, and why: nothing is downloaded; no stage is frozen and BatchNorm learns, as self-supervised
# backbones are fine-tuned in detection (MoCo, MEC); half the channels in the neck, a quarter in the box head
# and fewer proposals, for two cores; the re-identification network is the backbone as it was pre-trained,
# pooled to one unit vector, because the sets used here have too few identities to train one.
# Left open here and filled by transfer/track/mm/mot_model.py from the YAML file and the backbone's header:
# depth, channels, pixel statistics, image size, anchor scale, schedule, thresholds, data.
model = dict(
    type="DeepSORT",
    detector=dict(
        type="FasterRCNN",
        backbone=dict(
            type="ResNet",
            num_stages=4,
            out_indices=(0, 1, 2, 3),
            frozen_stages=-1,
            norm_cfg=dict(type="BN", requires_grad=True),
            norm_eval=False,
            style="pytorch",
        ),
        neck=dict(type="FPN", out_channels=128, num_outs=5),
        rpn_head=dict(
            type="RPNHead",
            in_channels=128,
            feat_channels=128,
            anchor_generator=dict(type="AnchorGenerator", ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]),
            bbox_coder=dict(
                type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[1.0, 1.0, 1.0, 1.0]
            ),
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
            loss_bbox=dict(type="SmoothL1Loss", beta=1.0 / 9.0, loss_weight=1.0),
        ),
        roi_head=dict(
            type="StandardRoIHead",
            bbox_roi_extractor=dict(
                type="SingleRoIExtractor",
                roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=2),
                out_channels=128,
                featmap_strides=[4, 8, 16, 32],
            ),
            bbox_head=dict(
                type="Shared2FCBBoxHead",
                in_channels=128,
                fc_out_channels=256,
                roi_feat_size=7,
                num_classes=1,
                bbox_coder=dict(
                    type="DeltaXYWHBBoxCoder",
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    target_stds=[0.1, 0.1, 0.2, 0.2],
                ),
                reg_class_agnostic=False,
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type="SmoothL1Loss", loss_weight=1.0),
            ),
        ),
        train_cfg=dict(
            rpn=dict(
                assigner=dict(
                    type="MaxIoUAssigner",
                    pos_iou_thr=0.7,
                    neg_iou_thr=0.3,
                    min_pos_iou=0.3,
                    match_low_quality=True,
                    ignore_iof_thr=0.5,  # boxes the evaluation ignores are no background
                ),
                sampler=dict(
                    type="RandomSampler", num=256, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False
                ),
                allowed_border=-1,
                pos_weight=-1,
                debug=False,
            ),
            rpn_proposal=dict(
                nms_pre=500, max_per_img=200, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0
            ),
            rcnn=dict(
                assigner=dict(
                    type="MaxIoUAssigner",
                    pos_iou_thr=0.5,
                    neg_iou_thr=0.5,
                    min_pos_iou=0.5,
                    match_low_quality=False,
                    ignore_iof_thr=0.5,
                ),
                sampler=dict(
                    type="RandomSampler", num=128, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True
                ),
                pos_weight=-1,
                debug=False,
            ),
        ),
        test_cfg=dict(
            rpn=dict(nms_pre=500, max_per_img=100, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
            rcnn=dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5)),
        ),
    ),
    motion=dict(type="KalmanFilter", center_only=False),
    reid=dict(
        type="BaseReID",
        backbone=dict(type="ResNet", num_stages=4, out_indices=(3,), style="pytorch"),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="UnitFeatureHead"),
    ),
    tracker=dict(
        type="BorderSortTracker",
        reid=dict(num_samples=10, img_scale=(64, 64), img_norm_cfg=None, match_score_thr=2.0),
        match_iou_thr=0.5,
        momentums=None,
        num_tentatives=2,
        num_frames_retain=100,
    ),
)
optimizer = dict(type="AdamW", weight_decay=0.05)
optimizer_config = dict(grad_clip=dict(max_norm=10.0))
lr_config = dict(
    policy="CosineAnnealing", by_epoch=False, min_lr_ratio=0.01, warmup="linear", warmup_ratio=0.1
)
log_config = dict(interval=20, hooks=[dict(type="TextLoggerHook", by_epoch=False)])
checkpoint_config = None
custom_hooks = []
log_level = "INFO"
load_from = None
resume_from = None
workflow = [("train", 1)]
