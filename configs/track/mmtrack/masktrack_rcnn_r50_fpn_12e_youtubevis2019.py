# MaskTrack R-CNN (Yang et al., ICCV 2019), trained as one, from the backbone under test and not from a Mask
# R-CNN of COCO; otherwise mmtrack 0.14's masktrack_rcnn_r50_fpn_12e_youtubevis2019.py.
_base_ = ["faster_rcnn_r50_fpn.py", "youtube_vis_2019.py", "runtime.py"]
model = dict(
    type="MaskTrackRCNN",
    detector=dict(
        type="MaskRCNN",
        rpn_head=dict(
            bbox_coder=dict(clip_border=True),
            loss_bbox=dict(_delete_=True, type="L1Loss", loss_weight=1.0),
        ),
        roi_head=dict(
            bbox_head=dict(
                num_classes=40,
                bbox_coder=dict(clip_border=True),
                loss_bbox=dict(type="L1Loss", loss_weight=1.0),
            ),
            mask_roi_extractor=dict(
                type="SingleRoIExtractor",
                roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
                out_channels=256,
                featmap_strides=[4, 8, 16, 32],
            ),
            mask_head=dict(
                type="FCNMaskHead",
                num_convs=4,
                in_channels=256,
                conv_out_channels=256,
                num_classes=40,
                loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
            ),
        ),
        train_cfg=dict(
            rpn=dict(sampler=dict(num=64)),
            rpn_proposal=dict(nms_pre=200, max_per_img=200),
            rcnn=dict(sampler=dict(num=128), mask_size=28, assigner=dict(match_low_quality=True)),
        ),
        test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=200), rcnn=dict(score_thr=0.01, mask_thr_binary=0.5)),
    ),
    track_head=dict(
        type="RoITrackHead",
        roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
        ),
        embed_head=dict(
            type="RoIEmbedHead", num_fcs=2, roi_feat_size=7, in_channels=256, fc_out_channels=1024
        ),
        train_cfg=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=True,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type="RandomSampler", num=128, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True
            ),
            pos_weight=-1,
            debug=False,
        ),
    ),
    tracker=dict(
        type="MaskTrackRCNNTracker",
        match_weights=dict(det_score=1.0, iou=2.0, det_label=10.0),
        num_frames_retain=20,
    ),
)
optimizer = dict(lr=0.00125)
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=35, norm_type=2))
lr_config = dict(policy="step", warmup="linear", warmup_iters=500, warmup_ratio=1.0 / 3, step=[8, 11])
total_epochs = 12
gpus = 1  # 0.00125 is the rate of one GPU
