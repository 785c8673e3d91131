"""Which protocols there are: how a number came about, by id. One literal table; reading rejects others.

Two numbers are comparable when dataset, split, protocol and metric agree. A paper's own numbers carry
that paper's protocol. MEC's tables set quoted numbers beside its own, so these carry MEC's id, and
``reported`` says that they are quoted; elsewhere quoted numbers are ``original-…``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """How a number came about."""

    name: str  # display name, used only in tables
    source: str  # where the protocol is written down
    reading: str = ""  # of a published one: how numbers measured here settle what its source leaves open


MEC_APPENDIX = "MEC (arXiv 2210.11464) App. C, p. 16"
UNITRACK = "UniTrack (commit a83e782), frozen backbone; motion cues in MEC's numbers are not stated"
UNITRACK_SYSTEM = "UniTrack docs/RESULTS.md (commit a83e782): a whole system, motion cues included"
UNITRACK_MOTION = "UniTrack (commit a83e782), frozen backbone, motion cues in the first assignment"
MOTION_OFF = "motion cues off in the first assignment, as in the configurations of UniTrack's commit 3668b8c"
FLOOR = "a floor that no backbone takes part in (docs/tracking.md): "
NOT_STATED = "not stated by the source"
LAST = "the last epoch is reported"
LARC = "LARS is timm's, the formula of apex's LARC; the last epoch is reported, theirs keeps the best"

KNN: dict[str, Protocol] = {
    "knn": Protocol("kNN", "configs/classify/knn_*: several k, whose rows are knn-k10, knn-k20, ..."),
    "knn-cifar10": Protocol("kNN", "configs/classify/knn_cifar10_ks.yaml: several k in float32"),
    **{
        f"{prefix}-k{k}": Protocol(f"kNN, k = {k}", source)
        for prefix, source in (
            ("knn", "Wu et al. (arXiv 1805.01978) section 3.4; configs/classify/knn_*"),
            ("knn-cifar10", "as knn, in float32; configs/classify/knn_cifar10_ks.yaml"),
        )
        for k in (1, 3, 5, 10, 20, 50, 100, 200)
    },
    "mec-cifar-knn": Protocol("kNN", "MEC (arXiv 2210.11464) App. B; k " + NOT_STATED),
}
LINEAR: dict[str, Protocol] = {
    "linear-sgd": Protocol("linear, SGD", "transfer/classify/linear.py"),
    "linear-lars": Protocol("linear, LARS", "transfer/classify/linear.py"),
    "linear-cached-sgd": Protocol("linear, SGD, cached features", "transfer/classify/linear.py"),
    "linear-cached-lars": Protocol(
        "linear, LARS, cached features", "configs/classify/linear_mini.yaml, linear_cifar10.yaml"
    ),
    "linear-sweep": Protocol("linear, 24 heads", "configs/classify/linear_*_sweep.yaml"),
    "linear-lbfgs": Protocol("linear, L-BFGS", "configs/classify/linear_*_lbfgs.yaml"),
    "mec-linear": Protocol(
        "linear",
        f"{MEC_APPENDIX}: LARS, batch 4096, 100 epochs",
        "base learning rate 0.03 and batch normalisation before the classifier as in its code, momentum 0.9; "
        + LAST,
    ),
    "mec-code-linear": Protocol(
        "linear",
        "MEC's code (commit 35045dc) benchmarks/linearprob: base learning rate 0.03, BatchNorm",
        LARC,
    ),
    "mec-linear-architectures": Protocol("linear", "MEC (arXiv 2210.11464) Table 6, p. 9; " + NOT_STATED),
    "simsiam-linear": Protocol(
        "linear",
        "SimSiam (arXiv 2011.10566) App. A: LARS, base learning rate 0.02, batch 4096, 90 epochs",
        "momentum 0.9; " + LAST,
    ),
    "simsiam-code-linear": Protocol(
        "linear", "SimSiam's code (commit a7bc177): LARS, base learning rate 0.1, batch 4096, 90 epochs", LARC
    ),
    "moco-linear": Protocol(
        "linear",
        "MoCo's code (commit 7397dfe): SGD, learning rate 30, batch 256, 100 epochs",
        LAST + ", theirs keeps the best",
    ),
    "byol-linear": Protocol("linear", "BYOL (arXiv 2006.07733)"),
    "barlow-linear": Protocol(
        "linear",
        "Barlow Twins (arXiv 2103.03230) App. B.1: SGD, learning rate 0.3, batch 256, 100 epochs",
        LAST + ", theirs keeps the best",
    ),
    "vicreg-linear": Protocol(
        "linear",
        "VICReg (arXiv 2105.04906) App. C.2: SGD, learning rate 0.02, batch 256, 100 epochs",
        "momentum 0.9; " + LAST,
    ),
    "original-linear": Protocol(
        "linear, each method's own", "each method's own paper, as the source quotes it; they differ"
    ),
    "mec-cifar-linear": Protocol("linear", "MEC (arXiv 2210.11464) App. B"),
    "mec-transfer-linear": Protocol(
        "linear",
        "MEC (arXiv 2210.11464) Table 8, p. 18",
        "SimCLR's protocol (arXiv 2002.05709, appendix B.8): L-BFGS on features of one central crop, the l2 "
        "penalty chosen among 45 on held-out training images; bilinear resizing",
    ),
    "mec-places-linear": Protocol("linear", "MEC (arXiv 2210.11464) Table 9, p. 18"),
    **{
        f"{published}-linear-cifar10": Protocol(
            f"linear, {name}",
            f"{published}-linear made for CIFAR-10; configs/classify/linear_cifar10_{stem}.yaml",
        )
        for published, stem, name in (
            ("mec", "mec", "MEC"),
            ("mec-code", "mec_code", "MEC's code"),
            ("simsiam", "simsiam", "SimSiam"),
            ("simsiam-code", "simsiam_code", "SimSiam's code"),
            ("barlow", "barlow", "Barlow Twins"),
            ("vicreg", "vicreg", "VICReg"),
            ("moco", "moco", "MoCo"),
        )
    },
}
SEMISUP: dict[str, Protocol] = {
    "semisup-ft": Protocol("fine-tuning", "configs/classify/semisup_mini_*.yaml, semisup_cifar10_*pct.yaml"),
    "mec-semisup": Protocol(
        "fine-tuning",
        f"{MEC_APPENDIX}: SGD, batch 1024, base learning rate 0.05, 50 epochs",
        "learning rate x batch / 256, one rate for backbone and classifier and Nesterov momentum (as BYOL), "
        "cosine (as Barlow Twins' code)",
    ),
    "simclr-semisup": Protocol(
        "fine-tuning",
        "SimCLR (arXiv 2002.05709) App. B.5: SGD, batch 4096, learning rate 0.8, 60 or 30 epochs",
        "cosine",
    ),
    "byol-semisup": Protocol(
        "fine-tuning",
        "BYOL (arXiv 2006.07733) App. C.1: SGD, batch 1024, swept",
        "learning rate x batch / 256, cosine; the 10,009 held-out training images are drawn among the "
        "unlabelled ones",
    ),
    "barlow-semisup": Protocol(
        "fine-tuning",
        "Barlow Twins (arXiv 2103.03230) App. B.2: SGD, batch 256, two learning rates, 20 epochs",
        "momentum 0.9; " + LAST,
    ),
    "barlow-code-semisup": Protocol(
        "fine-tuning",
        "Barlow Twins' code (commit 8e8d284): SGD, batch 256, backbone 0.005, head 0.5, cosine, 20 epochs",
        LAST + ", theirs keeps the best",
    ),
    "vicreg-semisup": Protocol(
        "fine-tuning",
        "VICReg (arXiv 2105.04906) App. C.2: SGD, batch 256, two learning rates, 20 epochs",
        "momentum 0.9; the rates are those that VICReg chose for itself; " + LAST,
    ),
    "original-semisup": Protocol(
        "fine-tuning, each method's own", "each method's own paper, as the source quotes it; they differ"
    ),
    **{
        f"{published}-semisup-cifar10": Protocol(
            f"fine-tuning, {name}",
            f"{published}-semisup made for CIFAR-10; configs/classify/semisup_cifar10_*pct_{stem}.yaml",
        )
        for published, stem, name in (
            ("mec", "mec", "MEC"),
            ("simclr", "simclr", "SimCLR"),
            ("byol", "byol", "BYOL"),
            ("barlow", "barlow", "Barlow Twins"),
            ("barlow-code", "barlow_code", "Barlow Twins' code"),
            ("vicreg", "vicreg", "VICReg"),
        )
    },
    "scratch-cifar10": Protocol("from scratch", "configs/classify/semisup_cifar10_*pct_scratch.yaml"),
}
FINETUNE: dict[str, Protocol] = {
    "mec-transfer-finetune": Protocol(
        "fine-tuned",
        "MEC (arXiv 2210.11464) Table 8, p. 18",
        "SimCLR's protocol (arXiv 2002.05709, appendix B.8): 20,000 steps, 7 learning rates by 8 weight "
        "decays, chosen on held-out training images",
    ),
    "finetune": Protocol("fine-tuned", "configs/classify/finetune_mini.yaml"),
}
FEWSHOT: dict[str, Protocol] = {
    "fewshot-5": Protocol("5-shot", "configs/classify/fewshot_*.yaml"),
}
SEARCHED = "rates of ours, chosen on held-out training images, which the final training has again"
AS_MOCO = "batch norms, norm behind res5 and warm-up as in MoCo's code"
NINE_K = "on VOC 07 alone 9,000 iterations (MoCo, arXiv 1911.05722, Table 4) with the 24,000's proportions"
DETECT: dict[str, Protocol] = {
    "mask-rcnn-r18-fpn-mini": Protocol("Mask R-CNN R18-FPN", "configs/detect/mini.yaml"),
    "mask-rcnn-fpn-coco200": Protocol("Mask R-CNN FPN, 100 images", "configs/detect/coco200.yaml"),
    "mask-rcnn-fpn-coco200-person": Protocol(
        "Mask R-CNN FPN, 51 images, people", "configs/detect/coco200_person.yaml"
    ),
    "mec-faster-rcnn-c4": Protocol(
        "Faster R-CNN C4",
        f"{MEC_APPENDIX}; searched learning rate",
        f"{SEARCHED}; {AS_MOCO}; {NINE_K}",
    ),
    "mec-faster-rcnn-c4-24k": Protocol(
        "Faster R-CNN C4, 24k",
        f"{MEC_APPENDIX}: 24,000 iterations, batch 16, searched learning rate",
        f"{SEARCHED}; {AS_MOCO}",
    ),
    "mec-mask-rcnn-c4-1x": Protocol(
        "Mask R-CNN C4, 1x", f"{MEC_APPENDIX}; searched learning rate", f"{SEARCHED}; {AS_MOCO}"
    ),
    "simsiam-faster-rcnn-c4": Protocol(
        "Faster R-CNN C4",
        "SimSiam (arXiv 2011.10566) section 6.1: learning rate searched for each method",
        f"{SEARCHED}; VOC 2012's trainval as in MoCo's code, the paper's Table 5 says train; {NINE_K}",
    ),
    "simsiam-mask-rcnn-c4-1x": Protocol(
        "Mask R-CNN C4, 1x",
        "SimSiam (arXiv 2011.10566) section 6.1: learning rate searched for each method",
        SEARCHED,
    ),
    "moco-faster-rcnn-c4-24k": Protocol(
        "Faster R-CNN C4, 24k", "MoCo's code (commit 7397dfe) detection/: extra norm, learning rate 0.02"
    ),
    "moco-mask-rcnn-c4-2x": Protocol(
        "Mask R-CNN C4, 2x", "MoCo's code (commit 7397dfe) detection/: extra norm, learning rate 0.02"
    ),
    "barlow-faster-rcnn-c4-24k": Protocol(
        "Faster R-CNN C4, 24k",
        "Barlow Twins (arXiv 2103.03230) App. C.2: learning rate 0.1",
        "norm behind res5 and recomputed statistics as in MoCo's code",
    ),
    "barlow-mask-rcnn-c4-1x": Protocol(
        "Mask R-CNN C4, 1x",
        "Barlow Twins (arXiv 2103.03230) App. C.2: learning rate 0.03",
        "batch norms and norm behind res5 as in MoCo's code",
    ),
    "vicreg-faster-rcnn-c4-24k": Protocol(
        "Faster R-CNN C4, 24k",
        "VICReg (arXiv 2105.04906) App. C.3: learning rate 0.1, RPN loss weight 0.2",
        "norm behind res5 and recomputed statistics as in MoCo's code, SyncBN as Barlow Twins",
    ),
    "vicreg-mask-rcnn-fpn-1x": Protocol(
        "Mask R-CNN FPN, 1x",
        "VICReg (arXiv 2105.04906) App. C.3: FPN, learning rate 0.04",
        "all layers fine-tuned, batch norms trained and synchronised, also FPN's (as MoCo section 4.2)",
    ),
    "byol-faster-rcnn-c4-frozen": Protocol(
        "Faster R-CNN C4, frozen", "BYOL (arXiv 2006.07733) App. D.5: frozen representation, 1.5M steps"
    ),
    "detectron2-mask-rcnn-c4-1x": Protocol(
        "Mask R-CNN C4, 1x", "detectron2 (commit 02b5c4e2) MODEL_ZOO.md: MSRA weights, frozen BatchNorm"
    ),
}
UNKNOWN: dict[str, Protocol] = {"unknown": Protocol("not stated", NOT_STATED)}
FROZEN: dict[str, Protocol] = {
    "unitrack": Protocol(
        "UniTrack", "configs/track/frozen/*: layers, heads, motion cues, whose rows are unitrack-layer3, ..."
    ),
    "unitrack-xcorr-layer3": Protocol("XCorr layer3", UNITRACK),
    "unitrack-xcorr-layer4": Protocol("XCorr layer4", UNITRACK),
    "unitrack-dcf-layer3": Protocol("DCF layer3", UNITRACK),
    "unitrack-dcf-layer4": Protocol("DCF layer4", UNITRACK),
    "unitrack-layer3": Protocol("layer3", UNITRACK, MOTION_OFF),
    "unitrack-layer4": Protocol("layer4", UNITRACK, MOTION_OFF),
    "unitrack-motion-layer3": Protocol("layer3, motion", UNITRACK_MOTION),
    "unitrack-motion-layer4": Protocol("layer4, motion", UNITRACK_MOTION),
    "static-box": Protocol("static box", FLOOR + "the first frame's box stays where it is"),
    "first-frame-copy": Protocol("first-frame copy", FLOOR + "the first frame's masks stay where they are"),
    "no-appearance": Protocol("no appearance", FLOOR + "Kalman filter and overlap alone link the detections"),
}
MMTRACK_SIAMRPN = "mmtrack 0.14 siamese_rpn_r50_20e_"
SIAMRPN: dict[str, Protocol] = {
    f"siamrpn-{test}{ending}": Protocol(f"SiamRPN++{name}", f"{MMTRACK_SIAMRPN}{file}.py{done}")
    for test, file in (("lasot", "lasot"), ("otb", "otb100"))
    for ending, name, done in (
        ("", "", ""),
        ("-frozen", ", frozen", ", the backbone frozen throughout"),
        ("-syncbn", ", SyncBN", ", all of the backbone trained, batch statistics synchronised"),
    )
}
MMTRACK_MOT = {  # docs: what each variant trains, transfer/track/mm/mot_config.py
    f"{base}{ending}": Protocol(f"{label}{name}", source, done)
    for base, label, source in (
        ("mini-tracktor", "Tracktor", "configs/track/mot_mini_tracktor.yaml"),
        ("mini-qdtrack", "QDTrack", "configs/track/mot_mini_qdtrack.yaml"),
        ("mmtrack-tracktor-mot17-half", "Tracktor", "configs/track/mot_mot17_half_tracktor.yaml"),
        ("mmtrack-deepsort-mot17-half", "DeepSORT", "configs/track/mot_mot17_half_deepsort.yaml"),
        ("mmtrack-qdtrack-mot17-half", "QDTrack", "configs/track/mot_mot17_half_qdtrack.yaml"),
        ("mmtrack-masktrack-rcnn", "MaskTrack R-CNN", "configs/track/vis_youtube.yaml"),
    )
    for ending, name, done in (
        ("", "", ""),
        ("-unfrozen", ", unfrozen", "all of the detector's backbone trained"),
        ("-syncbn", ", SyncBN", "all of the detector's backbone trained, batch statistics synchronised"),
    )
}
OTHERS: dict[str, Protocol] = {
    "siamrpn-frozen-mini": Protocol("SiamRPN++, frozen", "configs/track/sot_mini.yaml"),
    "siamrpn-frozen-coco-otb": Protocol("SiamRPN++, frozen", "configs/track/sot_otb.yaml"),
    **SIAMRPN,
    "mini": Protocol("DeepSORT, Faster R-CNN", "configs/track/mot_mini.yaml"),
    "pets09-half": Protocol("DeepSORT, half of a video", "configs/track/mot_pets09.yaml"),
    "mot17-first-frames": Protocol("DeepSORT, first frames", "configs/track/mot_mot17.yaml"),
    **MMTRACK_MOT,
    # tracking
    **FROZEN,
    "unitrack-system-xcorr": Protocol("UniTrack, XCorr", UNITRACK_SYSTEM),
    "unitrack-system-dcf": Protocol("UniTrack, DCF", UNITRACK_SYSTEM),
    "unitrack-system": Protocol("UniTrack", UNITRACK_SYSTEM),
    # the loss and the cost of pre-training
    "mec-taylor-error": Protocol(
        "Taylor series against log det", "MEC (arXiv 2210.11464) Fig. 3, p. 4, and App. D, p. 17"
    ),
    "mec-cost-8xv100": Protocol("8 V100", MEC_APPENDIX),
}

OF_TASK: dict[str, dict[str, Protocol]] = {  # a task whose protocols are no other task's
    "knn": KNN,
    "linear": LINEAR,
    "semisup": SEMISUP,
    "finetune": FINETUNE,
    "fewshot": FEWSHOT,
    "detect": DETECT,
}
PROTOCOLS: dict[str, Protocol] = {
    **LINEAR,
    **KNN,
    **SEMISUP,
    **FINETUNE,
    **FEWSHOT,
    **DETECT,
    **OTHERS,
    **UNKNOWN,
}
DEVIATION = "@"  # parts a protocol from what was done otherwise
OUR_SIAMRPN = {name: OTHERS[name] for name in ("siamrpn-frozen-mini", "siamrpn-frozen-coco-otb")}
DEVIATING = {**DETECT, **FROZEN, **SIAMRPN, **OUR_SIAMRPN}  # whose ids may say so


def find_protocol(protocol: str) -> Protocol | None:
    """The line of the table; of ``ID@batch4,lr=0.05`` a line made of ID's; None where there is none.

    Only protocols of :data:`DEVIATING` deviate so: they are run with other settings, and their rows must not
    pass for those of the protocol (:func:`transfer.detect.settings.protocol_of`,
    :mod:`transfer.track.frozen.protocol_ids`).
    """
    base, parts, deviation = protocol.partition(DEVIATION)
    if not parts:
        return PROTOCOLS.get(protocol)
    known = DEVIATING.get(base)
    if known is None or not deviation or DEVIATION in deviation:
        return None
    done = deviation.replace(",", ", ")
    return Protocol(f"{known.name}, {done}", f"{known.source}; here with {done}", known.reading)


def rank_protocol(protocol: str) -> tuple[int, str]:
    """Sorts by the table, deviations behind what they deviate from; what is unknown comes last, by name."""
    base = protocol.partition(DEVIATION)[0]
    return _RANKS.get(base, len(_RANKS)), protocol


_RANKS = {name: rank for rank, name in enumerate(PROTOCOLS)}


def check_task(task: str, protocol: str) -> None:
    """Refuse a protocol that no table has, or that is another task's.

    Raises:
        ValueError: names the protocol and, where it is another task's, that task.
    """
    if find_protocol(protocol) is None:
        raise ValueError(
            f"protocol {protocol!r} is unknown; give it a line in transfer/report/protocols.py that says "
            "where it is written down"
        )
    base = protocol.partition(DEVIATION)[0]
    owners = [name for name, protocols in OF_TASK.items() if base in protocols]
    if (owners and task not in owners) or (not owners and base != "unknown" and task in OF_TASK):
        others = " or ".join(owners) or "tracking"
        raise ValueError(
            f"protocol {protocol!r} is one of task {others}, but this "
            f"is task {task!r}; the two would be compared as if they were one"
        )
