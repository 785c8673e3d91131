"""The bundled set: small, real-format data for every task, built in seconds from installed packages.

    python -m transfer.data.mini data/mini

Objects are scikit-learn's 1,797 handwritten digits and drawn stick figures, backgrounds are photographs
inside the scikit-image wheel; nothing is downloaded. Train and validation use different digits and different
halves of each photograph. The layouts are those of ImageFolder (``classify``), COCO (``detect``),
MOTChallenge with CocoVID JSON (``mot``), OTB (``sot``), DAVIS (``davis``), MOTS20 (``mots``) and
PoseTrack 2018 (``posetrack``).
"""
