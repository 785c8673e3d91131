# Faster R-CNN with FPN for two cores: half the channels in the neck, a quarter in the box head, fewer
# proposals. No stage is frozen and batch norms learn, as self-supervised backbones are fine-tuned in
# detection (MoCo, MEC); boxes that the evaluation ignores are no background.
_base_ = ["faster_rcnn_r50_fpn.py", "runtime.py"]
gpus = 1
model = dict(
    detector=dict(
        backbone=dict(frozen_stages=-1, norm_eval=False),
        neck=dict(out_channels=128),
        rpn_head=dict(in_channels=128, feat_channels=128, bbox_coder=dict(clip_border=True)),
        roi_head=dict(
            bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=2), out_channels=128),
            bbox_head=dict(in_channels=128, fc_out_channels=256, bbox_coder=dict(clip_border=True)),
        ),
        train_cfg=dict(
            rpn=dict(assigner=dict(ignore_iof_thr=0.5)),
            rpn_proposal=dict(nms_pre=500, max_per_img=200),
            rcnn=dict(assigner=dict(ignore_iof_thr=0.5), sampler=dict(num=128)),
        ),
        test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=100), rcnn=dict(max_per_img=30)),
    )
)
