# SiamRPN++ as in siamese_rpn_mini.py, trained on pairs of crops from still COCO images and tested on OTB.
# Protocol: siamrpn-frozen-coco-otb, this project's own. The published recipe (Li et al., CVPR 2019; mmtrack's
# siamese_rpn_r50_20e_otb100.py) trains on 600,000 pairs an epoch for 20 epochs from ImageNet VID, COCO and
# ImageNet DET, and its backbone too; COCO, read by the same dataset class, is the part of it used here.
# Crops are 129 and 257 pixels: the original sizes 127 and 255 moved to 16k + 1 (siamese_rpn_mini.py: why).
# Command, hardware, time and measured number: configs/track/sot_otb.yaml, which also says where the data lie.
_base_ = "siamese_rpn_mini.py"
exemplar_size = 129
search_size = 257
crop_size = 513
img_norm_cfg = dict(mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0], to_rgb=True)

model = dict(
    head=dict(anchor_generator=dict(scales=[8])),
    train_cfg=dict(rpn=dict(exemplar_size=exemplar_size, search_size=search_size)),
    test_cfg=dict(exemplar_size=exemplar_size, search_size=search_size),
)
train_pipeline = [
    dict(type="PairSampling", frame_range=0, pos_prob=0.8, filter_template_img=False),
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
data = dict(
    samples_per_gpu=8,
    samples_per_epoch=160,
    train=dict(
        _delete_=True,
        type="SOTCocoDataset",
        ann_file="data/coco/annotations/instances_train2017.json",
        img_prefix="data/coco/train2017",
        split="train",
        pipeline=train_pipeline,
        test_mode=False,
    ),
    test=dict(img_prefix="data/otb", ann_file="configs/track/otb_crossing.txt"),
)
