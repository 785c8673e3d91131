# QDTrack (Pang et al., CVPR 2021), trained as one: mmtrack 0.14's
# mot/qdtrack/qdtrack_faster-rcnn_r50_fpn_4e_mot17-private-half.py, except that it starts from the backbone
# under test and not from a detector of COCO's people. That detector has Caffe's ResNet and pixels; here both
# follow the backbone.
_base_ = ["faster_rcnn_r50_fpn.py", "mot17_half.py", "runtime.py"]
model = dict(
    type="QDTrack",
    detector=dict(
        backbone=dict(norm_cfg=dict(requires_grad=False)),
        roi_head=dict(bbox_head=dict(loss_bbox=dict(type="L1Loss", loss_weight=1.0))),
    ),
    track_head=dict(
        type="QuasiDenseTrackHead",
        roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
        ),
        embed_head=dict(
            type="QuasiDenseEmbedHead",
            num_convs=4,
            num_fcs=1,
            embed_channels=256,
            norm_cfg=dict(type="GN", num_groups=32),
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
                num=256,
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
        init_score_thr=0.9,
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
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=35, norm_type=2))
lr_config = dict(policy="step", step=[3])
total_epochs = 4
