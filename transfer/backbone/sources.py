"""Layouts in: which tensors of a checkpoint are the backbone, for every code base we know.

A layout is a literal entry in :data:`LAYOUTS`. Tensors are addressed by path, for example
``state_dict/encoder.conv1.weight``, with a leading ``module.`` (DistributedDataParallel) or ``_orig_mod.``
(torch.compile) of a whole container taken off. Each tensor of a file must be accounted for: as part of
a branch, or as something that the layout is known to carry besides. One that is not makes the layout unfit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from transfer.backbone.naming import CAFFE2, DETECTRON2, SEQUENTIAL, TORCHVISION, TRANSFORMERS


@dataclass(frozen=True)
class Layout:
    """Where a code base keeps its backbone.

    Attributes:
        method: who trained it, as far as the layout tells; a row's ``method`` unless the user says better.
        branches: branch name -> prefixes of its tensors; the first is what the code base evaluates.
        beside: prefixes of tensors that belong to no backbone. The longest prefix that fits a key decides.
        containers: where the prefixes start, tried in order; one that begins with ``/`` starts at the top.
        marks: prefixes of tensors or values that must occur, ``a|b`` one of them; they tell layouts apart.
        names: the naming below a branch's prefix.
        repeats: prefix -> prefix of the same tensors, for modules that are registered twice.
        cifar_stem: whether a 3x3 stem is padded by 1, as the contract's is. Its shape does not tell.
        epoch: path of the epoch counter, and what to add to it for the number of epochs done.
        without: pattern of whole names of tensors that belong to no backbone, where no prefix tells them.
        stride_in_1x1: whether bottlenecks stride in their first 1x1 convolution. Shapes do not tell.
        pixels: header fields on how pixels are fed, where that is not torchvision's way.
    """

    method: str
    branches: dict[str, tuple[str, ...]]
    beside: tuple[str, ...] = ()
    containers: tuple[str, ...] = ("state_dict/",)
    marks: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=lambda: TORCHVISION)
    repeats: dict[str, str] = field(default_factory=dict)
    cifar_stem: bool = True
    epoch: tuple[str, int] = ("epoch", 0)
    without: str = ""
    stride_in_1x1: bool = False
    pixels: dict[str, str] = field(default_factory=dict)


ONLINE, TARGET = "online", "target"  # the trained network; its moving average or momentum encoder

LAYOUTS: dict[str, Layout] = {
    "mec": Layout(  # xinliu20/MEC main_pretrain.py; the projector is the encoder's fc
        method="mec",
        branches={ONLINE: ("encoder.",), TARGET: ("teacher.",)},
        beside=("predictor.",),
        marks=("teacher.", "predictor."),
    ),
    "pretrain": Layout(  # this project's `python -m pretrain`, also before its end: runs/NAME/checkpoints
        method="unknown",  # objective and epochs stand in the run's config.json, not in the checkpoint
        branches={ONLINE: ("online.encoder.",), TARGET: ("target.encoder.",)},
        beside=("online.projector.", "target.projector.", "predictor."),
        containers=("model/",),
        marks=("online.projector.", "target.projector."),
    ),
    "simsiam": Layout(
        method="simsiam", branches={ONLINE: ("encoder.",)}, beside=("predictor.",), marks=("predictor.",)
    ),
    "moco-v1": Layout(
        method="moco-v1",
        branches={ONLINE: ("encoder_q.",), TARGET: ("encoder_k.",)},
        beside=("queue",),
        marks=("encoder_q.fc.weight",),
    ),
    "moco-v2": Layout(
        method="moco-v2",
        branches={ONLINE: ("encoder_q.",), TARGET: ("encoder_k.",)},
        beside=("queue",),
        marks=("encoder_q.fc.0.weight",),
    ),
    "moco-v3": Layout(
        method="moco-v3",
        branches={ONLINE: ("base_encoder.",), TARGET: ("momentum_encoder.",)},
        beside=("predictor.",),
    ),
    "byol": Layout(  # lucidrains/byol-pytorch: the learner keeps the network a second time, as net
        method="byol",
        branches={ONLINE: ("online_encoder.net.",), TARGET: ("target_encoder.net.",)},
        beside=("online_encoder.projector.", "target_encoder.projector.", "online_predictor."),
        containers=("", "state_dict/", "state_dict/learner.", "model_state_dict/"),
        repeats={"net.": "online_encoder.net."},
        epoch=("epoch", 1),  # Lightning's
    ),
    "simclr": Layout(  # sthalles/SimCLR
        method="simclr", branches={"": ("backbone.",)}, marks=("backbone.fc.0.",)
    ),
    "swav": Layout(
        method="swav",
        branches={"": ("",)},
        beside=("projection_head.", "prototypes.weight"),
        containers=("state_dict/", ""),
        marks=("prototypes.weight",),
    ),
    "deepcluster-v2": Layout(
        method="deepcluster-v2",
        branches={"": ("",)},
        beside=("projection_head.", "prototypes.prototypes"),
        containers=("state_dict/", ""),
        marks=("prototypes.prototypes0.",),
    ),
    "barlow-twins": Layout(
        method="barlow-twins",
        branches={"": ("backbone.",)},
        beside=("projector.", "bn."),
        containers=("model/",),
        marks=("projector.", "bn."),
    ),
    "vicreg": Layout(
        method="vicreg",
        branches={"": ("backbone.",)},
        beside=("projector.",),
        containers=("model/",),
        marks=("projector.",),
    ),
    "dino": Layout(
        method="dino",
        branches={TARGET: ("teacher/backbone.",), ONLINE: ("student/backbone.",)},
        beside=("teacher/head.", "student/head.", "dino_loss/"),
        containers=("",),
        marks=("teacher/", "student/"),
    ),
    "openselfsup": Layout(  # also DenseCL and mmselfsup before 0.11; the query encoder is registered twice
        method="unknown",
        branches={ONLINE: ("encoder_q.0.", "online_net.0."), TARGET: ("encoder_k.0.", "target_net.0.")},
        beside=("encoder_q.", "encoder_k.", "online_net.", "target_net.", "queue", "head.", "neck."),
        repeats={"backbone.": "encoder_q.0.|online_net.0."},
        epoch=("meta/epoch", 0),
    ),
    "mmselfsup": Layout(  # 0.11 to 1.x, mmpretrain; from 1.0 on the momentum encoder has a "module." inside
        method="unknown",
        branches={
            ONLINE: ("backbone.",),
            TARGET: ("encoder_k.0.", "encoder_k.module.0.", "target_net.0.", "target_net.module.0."),
        },
        beside=("neck.", "head.", "encoder_k.", "target_net.", "queue", "data_preprocessor."),
        marks=("encoder_k.|target_net.",),
        epoch=("meta/epoch", 0),
    ),
    "openmmlab": Layout(  # mmcv, mmdet, mmcls, mmselfsup's methods of one network, and our own file
        method="unknown",
        branches={"": ("backbone.",)},
        beside=("neck.", "head.", "rpn_head.", "roi_head.", "bbox_head.", "mask_head.", "data_preprocessor."),
        marks=("/meta/",),
        epoch=("meta/epoch", 0),
    ),
    "mmtrack": Layout(
        method="unknown",
        branches={"detector": ("detector.backbone.",), "reid": ("reid.backbone.",)},
        beside=("detector.", "reid.", "motion.", "tracker."),
        marks=("/meta/",),
        epoch=("meta/epoch", 0),
    ),
    "vissl": Layout(
        method="unknown",
        branches={"": ("base_model/model/trunk/_feature_blocks.",)},
        beside=("base_model/", "optimizer/", "loss/", "meters/", "/loss/"),
        containers=("classy_state_dict/",),
        epoch=("phase_idx", 1),
    ),
    "solo-learn": Layout(
        method="unknown",
        # "encoder" until 2021
        branches={ONLINE: ("backbone.", "encoder."), TARGET: ("momentum_backbone.", "momentum_encoder.")},
        beside=(
            "classifier.",
            "momentum_classifier.",
            "projector.",
            "momentum_projector.",
            "predictor.",
            "prototypes.",
            "queue",
        ),
        marks=("classifier.",),
        cifar_stem=False,  # it pads by 2
        epoch=("epoch", 1),
    ),
    "lightly": Layout(  # nn.Sequential over the network's children, as its tutorials and examples have it
        method="unknown",
        branches={ONLINE: ("backbone.",), TARGET: ("backbone_momentum.",)},
        beside=(
            "projection_head.",
            "projection_head_momentum.",
            "prediction_head.",
            "prototypes.",
            "criterion.",
        ),
        names=SEQUENTIAL,
        epoch=("epoch", 1),
    ),
    "lightly-benchmark": Layout(  # its benchmarks folder: the backbone keeps torchvision's names
        method="unknown",
        branches={ONLINE: ("backbone.",), TARGET: ("teacher_backbone.",)},
        beside=("projection_head.", "prediction_head.", "teacher_projection_head.", "online_classifier."),
        marks=("online_classifier.",),
        epoch=("epoch", 1),
    ),
    "lightly-benchmark-momentum": Layout(  # MoCo and DINO there: "backbone" is the momentum encoder
        method="unknown",
        branches={TARGET: ("backbone.",), ONLINE: ("query_backbone.", "student_backbone.")},
        beside=(
            "projection_head.",
            "query_projection_head.",
            "student_projection_head.",
            "online_classifier.",
            "criterion.",
        ),
        marks=("online_classifier.", "query_backbone.|student_backbone."),
        epoch=("epoch", 1),
    ),
    "timm": Layout(  # train.py with an average of the weights; without one it is torchvision's layout
        method="unknown",
        branches={ONLINE: ("state_dict/",), "ema": ("state_dict_ema/",)},
        containers=("",),
        marks=("state_dict_ema/",),
        epoch=("epoch", 1),
    ),
    "torchvision": Layout(  # also timm's state dicts and the backbones that most code bases release
        method="unknown",
        branches={"": ("",)},
        containers=("", "state_dict/", "model/", "model_state_dict/"),
    ),
    "huggingface": Layout(  # transformers' ResNetModel, alone or below a classifier
        method="unknown",
        branches={"": ("", "resnet.")},
        beside=("classifier.",),
        containers=("",),
        names=TRANSFORMERS,
    ),
    "detectron2": Layout(  # FPN keeps the network in bottom_up; C4 keeps res5 in roi_heads
        method="unknown",
        branches={"": ("", "backbone.bottom_up.", "backbone.", "roi_heads.")},
        beside=(
            "backbone.fpn_",
            "backbone.top_block.",
            "proposal_generator.",
            "roi_heads.box_",
            "roi_heads.mask_",
            "roi_heads.keypoint_",
            "roi_heads.res5.norm.",
            "stem.fc.",  # a head that MoCo's converter renames along with the backbone
            "pixel_mean",
            "pixel_std",
        ),
        containers=("model/",),
        names=DETECTRON2,
    ),
    "caffe2": Layout(  # detectron2's ImageNetPretrained/MSRA/R-50.pkl and R-101.pkl: He et al.'s own training
        method="supervised",
        branches={"": ("",)},
        containers=("model/",),
        marks=("res_conv1_bn_gamma",),
        names=CAFFE2,
        # The classifier, a bias of the first convolution that detectron2 leaves out as well, since a norm
        # follows, and what Caffe2's solver adds.
        without=r"(fc1000|pred)_[wb]|conv1_b|\w+_momentum",
        stride_in_1x1=True,
        pixels={
            "pixel_order": "BGR",
            "pixel_mean": "0.406,0.456,0.485",  # 103.53, 116.28, 123.675 of 255
            "pixel_std": ",".join([repr(1 / 255)] * 3),  # the deviations are part of conv1's weights
        },
    ),
}
HEAD = "fc."  # below a branch's prefix: the projector or the classifier, never the backbone
# Around the networks, in any layout: optimizer state, gradient scalers, schedules.
AROUND = (
    "optimizer",
    "lr_scheduler",
    "scheduler",
    "param_scheduler",
    "scaler",
    "fp16_scaler",
    "amp/",
    "amp_scaler/",
    "loops/",
    "callbacks/",
    "meta/",
    "message_hub/",
    "hyper_parameters/",
)
WRAPPERS = ("module.", "_orig_mod.")  # put before every key of a container by a wrapper module
