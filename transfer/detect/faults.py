"""Faults of a set, found before anything is trained, each kind counted and its first cases named.

What detectron2 and pycocotools make of each is in :data:`transfer.findings.FAULTS`. What COCO 2017 and
VOC really contain is no error: crowds, gaps in the category ids, images without objects, difficult
objects, boxes that pass an edge, two boxes of no height in train2017, fractions of a pixel in VOC.
"""

from __future__ import annotations

from transfer.detect.cases import Cases
from transfer.detect.faults_coco import check_coco
from transfer.detect.faults_images import check_images as check_image_files
from transfer.detect.faults_voc import check_voc
from transfer.detect.sets import Registered
from transfer.findings import Finding


def find_faults(images: Registered, training: bool, check_images: bool) -> list[Finding]:
    """Look at every annotation of a set, and at its images.

    Args:
        images: the set.
        training: it is trained on; else it is a test set, in which evaluation needs more fields.
        check_images: open every image: its size, in the orientation that detectron2 gives it, and its
            end. Else only whether the file is there.

    Returns:
        At most one finding a kind, whose ``setting`` is ``sets.<name>``.

    Raises:
        FileNotFoundError, ValueError: the annotation file or the list changed since it was registered.
    """
    cases = Cases()
    check = check_coco if images.kind == "coco" else check_voc
    entries = check(images.files, training, cases)
    check_image_files(entries, check_images, cases)
    return cases.findings(f"sets.{images.name}")
