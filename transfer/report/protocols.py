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


MEC_APPENDIX = "MEC (arXiv 2210.11464) App. C, p. 16"
UNITRACK = "UniTrack (commit a83e782), frozen backbone; motion cues in MEC's numbers are not stated"
UNITRACK_SYSTEM = "UniTrack docs/RESULTS.md (commit a83e782): a whole system, motion cues included"
NOT_STATED = "not stated by the source"

PROTOCOLS: dict[str, Protocol] = {
    # measured with this repository
    **{
        f"knn-k{k}": Protocol(
            f"kNN, k = {k}", "Wu et al. (arXiv 1805.01978) section 3.4; configs/classify/knn_*"
        )
        for k in (1, 3, 5, 10, 20, 50, 100, 200)
    },
    "linear-sgd": Protocol("linear, SGD", "transfer/classify/linear.py"),
    "linear-lars": Protocol("linear, LARS", "transfer/classify/linear.py"),
    "linear-cached-sgd": Protocol("linear, SGD, cached features", "transfer/classify/linear.py"),
    "linear-cached-lars": Protocol(
        "linear, LARS, cached features", "configs/classify/linear_mini.yaml, linear_cifar10.yaml"
    ),
    "linear-lars-mec": Protocol("linear, LARS", "configs/classify/linear_imagenet_mec.yaml"),
    "semisup-ft": Protocol("fine-tuning", "configs/classify/semisup_mini_*.yaml, semisup_cifar10_*.yaml"),
    "semisup-ft-mec": Protocol("fine-tuning", "configs/classify/semisup_imagenet_*_mec.yaml"),
    "mask-rcnn-r18-fpn-mini": Protocol("Mask R-CNN R18-FPN", "configs/detect/mini.yaml"),
    "mask-rcnn-fpn-coco200": Protocol("Mask R-CNN FPN, 100 images", "configs/detect/coco200.yaml"),
    "siamrpn-frozen-mini": Protocol("SiamRPN++, frozen", "configs/track/sot_mini.yaml"),
    "siamrpn-frozen-coco-otb": Protocol("SiamRPN++, frozen", "configs/track/sot_otb.yaml"),
    "mini": Protocol("DeepSORT, Faster R-CNN", "configs/track/mot_mini.yaml"),
    "pets09-half": Protocol("DeepSORT, half of a video", "configs/track/mot_pets09.yaml"),
    "mot17-first-frames": Protocol("DeepSORT, first frames", "configs/track/mot_mot17.yaml"),
    # linear probes
    "mec-linear": Protocol("linear", f"{MEC_APPENDIX}: LARS, batch 4096, 100 epochs"),
    "mec-code-linear": Protocol(
        "linear", "MEC's code (commit 35045dc) benchmarks/linearprob: base learning rate 0.03, BatchNorm"
    ),
    "mec-linear-architectures": Protocol("linear", "MEC (arXiv 2210.11464) Table 6, p. 9; " + NOT_STATED),
    "simsiam-linear": Protocol(
        "linear", "SimSiam (arXiv 2011.10566) App. A: LARS, base learning rate 0.02, batch 4096, 90 epochs"
    ),
    "simsiam-code-linear": Protocol(
        "linear", "SimSiam's code (commit a7bc177): LARS, base learning rate 0.1, batch 4096, 90 epochs"
    ),
    "moco-linear": Protocol(
        "linear", "MoCo's code (commit 7397dfe): SGD, learning rate 30, batch 256, 100 epochs"
    ),
    "byol-linear": Protocol("linear", "BYOL (arXiv 2006.07733)"),
    "barlow-linear": Protocol(
        "linear", "Barlow Twins (arXiv 2103.03230) App. B.1: SGD, learning rate 0.3, batch 256, 100 epochs"
    ),
    "vicreg-linear": Protocol(
        "linear", "VICReg (arXiv 2105.04906) App. C.2: SGD, learning rate 0.02, batch 256, 100 epochs"
    ),
    "original-linear": Protocol(
        "linear, each method's own", "each method's own paper, as the source quotes it; they differ"
    ),
    # CIFAR-10, other datasets, Places
    "mec-cifar-linear": Protocol("linear", "MEC (arXiv 2210.11464) App. B"),
    "mec-cifar-knn": Protocol("kNN", "MEC (arXiv 2210.11464) App. B; k " + NOT_STATED),
    "mec-transfer-linear": Protocol("linear", "MEC (arXiv 2210.11464) Table 8, p. 18"),
    "mec-transfer-finetune": Protocol("fine-tuned", "MEC (arXiv 2210.11464) Table 8, p. 18"),
    "mec-places-linear": Protocol("linear", "MEC (arXiv 2210.11464) Table 9, p. 18"),
    # semi-supervised
    "mec-semisup": Protocol(
        "fine-tuning", f"{MEC_APPENDIX}: SGD, batch 1024, base learning rate 0.05, 50 epochs"
    ),
    "byol-semisup": Protocol("fine-tuning", "BYOL (arXiv 2006.07733) App. C.1: SGD, batch 1024, swept"),
    "barlow-semisup": Protocol(
        "fine-tuning",
        "Barlow Twins (arXiv 2103.03230) App. B.2: SGD, batch 256, two learning rates, 20 epochs",
    ),
    "vicreg-semisup": Protocol(
        "fine-tuning", "VICReg (arXiv 2105.04906) App. C.2: SGD, batch 256, two learning rates, 20 epochs"
    ),
    "original-semisup": Protocol(
        "fine-tuning, each method's own", "each method's own paper, as the source quotes it; they differ"
    ),
    # detection
    "mec-faster-rcnn-c4": Protocol("Faster R-CNN C4", f"{MEC_APPENDIX}; searched learning rate"),
    "mec-faster-rcnn-c4-24k": Protocol(
        "Faster R-CNN C4, 24k", f"{MEC_APPENDIX}: 24,000 iterations, batch 16, searched learning rate"
    ),
    "mec-mask-rcnn-c4-1x": Protocol("Mask R-CNN C4, 1x", f"{MEC_APPENDIX}; searched learning rate"),
    "simsiam-faster-rcnn-c4": Protocol(
        "Faster R-CNN C4", "SimSiam (arXiv 2011.10566) section 6.1: learning rate searched for each method"
    ),
    "simsiam-mask-rcnn-c4-1x": Protocol(
        "Mask R-CNN C4, 1x", "SimSiam (arXiv 2011.10566) section 6.1: learning rate searched for each method"
    ),
    "moco-faster-rcnn-c4-24k": Protocol(
        "Faster R-CNN C4, 24k", "MoCo's code (commit 7397dfe) detection/: extra norm, learning rate 0.02"
    ),
    "barlow-faster-rcnn-c4-24k": Protocol(
        "Faster R-CNN C4, 24k", "Barlow Twins (arXiv 2103.03230) App. C.2: learning rate 0.1"
    ),
    "barlow-mask-rcnn-c4-1x": Protocol(
        "Mask R-CNN C4, 1x", "Barlow Twins (arXiv 2103.03230) App. C.2: learning rate 0.03"
    ),
    "vicreg-faster-rcnn-c4-24k": Protocol(
        "Faster R-CNN C4, 24k", "VICReg (arXiv 2105.04906) App. C.3: learning rate 0.1, RPN loss weight 0.2"
    ),
    "vicreg-mask-rcnn-fpn-1x": Protocol(
        "Mask R-CNN FPN, 1x", "VICReg (arXiv 2105.04906) App. C.3: FPN, learning rate 0.04"
    ),
    "byol-faster-rcnn-c4-frozen": Protocol(
        "Faster R-CNN C4, frozen", "BYOL (arXiv 2006.07733) App. D.5: frozen representation, 1.5M steps"
    ),
    "detectron2-mask-rcnn-c4-1x": Protocol(
        "Mask R-CNN C4, 1x", "detectron2 (commit 02b5c4e2) MODEL_ZOO.md: MSRA weights, frozen BatchNorm"
    ),
    # tracking
    "unitrack-xcorr-layer3": Protocol("XCorr layer3", UNITRACK),
    "unitrack-xcorr-layer4": Protocol("XCorr layer4", UNITRACK),
    "unitrack-dcf-layer3": Protocol("DCF layer3", UNITRACK),
    "unitrack-dcf-layer4": Protocol("DCF layer4", UNITRACK),
    "unitrack-layer3": Protocol("layer3", UNITRACK),
    "unitrack-layer4": Protocol("layer4", UNITRACK),
    "unitrack-system-xcorr": Protocol("UniTrack, XCorr", UNITRACK_SYSTEM),
    "unitrack-system-dcf": Protocol("UniTrack, DCF", UNITRACK_SYSTEM),
    "unitrack-system": Protocol("UniTrack", UNITRACK_SYSTEM),
    # the loss and the cost of pre-training
    "mec-taylor-error": Protocol(
        "Taylor series against log det", "MEC (arXiv 2210.11464) Fig. 3, p. 4, and App. D, p. 17"
    ),
    "mec-cost-8xv100": Protocol("8 V100", MEC_APPENDIX),
    "unknown": Protocol("not stated", NOT_STATED),
}
