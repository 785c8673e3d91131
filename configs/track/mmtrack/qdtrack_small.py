# QDTrack on the detector of faster_rcnn_small.py, trained as one for a pass over the training frames.
_base_ = ["faster_rcnn_small.py", "frames_small.py"]
model = dict(
    type="QDTrack",
    track_head=dict(
        type="QuasiDenseTrackHead",
        roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=2),
            out_channels=128,
            featmap_strides=[4, 8, 16, 32],
        ),
        embed_head=dict(
            type="QuasiDenseEmbedHead",
            in_channels=128,
            conv_out_channels=64,
            num_convs=1,
            num_fcs=1,
            fc_out_channels=128,
            embed_channels=64,
            norm_cfg=dict(type="GN", num_groups=8),
            loss_track=dict(type="MultiPosCrossEntropyLoss", loss_weight=0.25),
            loss_track_aux=dict(
                type="L2Loss", neg_pos_ub=3, pos_margin=0, neg_margin=0.1, hard_mining=True, loss_weight=1.0
            ),
        ),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        train_cfg=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.7,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type="CombinedSampler",
                num=64,
                pos_fraction=0.5,
                neg_pos_ub=3,
                add_gt_as_proposals=True,
                pos_sampler=dict(type="InstanceBalancedPosSampler"),
                neg_sampler=dict(type="RandomSampler"),
            ),
        ),
    ),
    tracker=dict(
        type="QuasiDenseTracker",
        init_score_thr=0.5,
        obj_score_thr=0.5,
        match_score_thr=0.5,
        memo_tracklet_frames=30,
        memo_backdrop_frames=1,
        memo_momentum=0.8,
        nms_conf_thr=0.5,
        nms_backdrop_iou_thr=0.3,
        nms_class_iou_thr=0.7,
        with_cats=True,
        match_metric="bisoftmax",
    ),
)
optimizer = dict(_delete_=True, type="AdamW", lr=3e-4, weight_decay=0.05)
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=10.0))
lr_config = dict(policy="step", step=[2], warmup="linear", warmup_iters=10, warmup_ratio=0.1)
total_epochs = 2
