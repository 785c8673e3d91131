"""What the tracking benchmarks consist of: names of sequences, and their frames where they are published."""

from __future__ import annotations

_OTB100 = """
Basketball 725  Biker 142  Bird1 408  Bird2 99  BlurBody 334  BlurCar1 742  BlurCar2 585  BlurCar3 357
BlurCar4 380  BlurFace 493  BlurOwl 631  Board 698  Bolt 350  Bolt2 293  Box 1161  Boy 602  Car1 1020
Car2 913  Car24 3059  Car4 659  CarDark 393  CarScale 252  ClifBar 472  Coke 291  Couple 140  Coupon 327
Crossing 120  Crowds 347  Dancer 225  Dancer2 150  David 471  David2 537  David3 252  Deer 71  Diving 215
Dog 127  Dog1 1350  Doll 3872  DragonBaby 113  Dudek 1145  FaceOcc1 892  FaceOcc2 812  Fish 476
FleetFace 707  Football 362  Football1 74  Freeman1 326  Freeman3 460  Freeman4 283  Girl 500  Girl2 1500
Gym 767  Human2 1128  Human3 1698  Human4-2 667  Human5 713  Human6 792  Human7 250  Human8 128  Human9 305
Ironman 166  Jogging-1 307  Jogging-2 307  Jump 122  Jumping 313  KiteSurf 84  Lemming 1336  Liquor 1741
Man 134  Matrix 100  Mhyang 1490  MotorRolling 164  MountainBike 228  Panda 1000  RedTeam 1918  Rubik 1997
Shaking 365  Singer1 351  Singer2 366  Skater 160  Skater2 435  Skating1 400  Skating2-1 473  Skating2-2 473
Skiing 81  Soccer 392  Subway 175  Surfer 376  Suv 945  Sylvester 1345  Tiger1 349  Tiger2 365  Toy 271
Trans 124  Trellis 569  Twinnings 472  Vase 271  Walking 412  Walking2 500  Woman 597
"""
_LASOT_TEST = """
airplane 1 9 13 15  basketball 1 6 7 11  bear 2 4 6 17  bicycle 2 7 9 18  bird 2 3 15 17  boat 3 4 12 17
book 3 10 11 19  bottle 1 12 14 18  bus 2 5 17 19  car 2 6 9 17  cat 1 3 18 20  cattle 2 7 12 13
chameleon 3 6 11 20  coin 3 6 7 18  crab 3 6 12 18  crocodile 3 4 10 14  cup 1 4 7 17  deer 4 8 10 14
dog 1 7 15 19  drone 2 7 13 15  electricfan 1 10 18 20  elephant 1 12 16 18  flag 2 3 5 9  fox 2 3 5 20
frog 3 4 9 20  gametarget 1 2 7 13  gecko 1 5 16 19  giraffe 2 10 13 15  goldfish 3 7 8 10
gorilla 4 6 9 13  guitar 3 8 10 16  hand 2 3 9 16  hat 1 2 5 18  helmet 5 11 13 19  hippo 1 7 9 20
horse 1 4 12 15  kangaroo 2 5 11 14  kite 4 6 10 15  leopard 1 7 16 20  licenseplate 6 12 13 15
lion 1 5 12 20  lizard 1 3 6 13  microphone 2 6 14 16  monkey 3 4 9 17  motorcycle 1 3 9 18  mouse 1 8 9 17
person 1 5 10 12  pig 2 10 13 18  pool 3 7 12 15  rabbit 10 13 17 19  racing 10 15 16 20  robot 1 5 8 19
rubicCube 1 6 14 19  sepia 6 8 13 16  shark 2 3 5 6  sheep 3 5 7 9  skateboard 3 8 16 19  spider 14 16 18 20
squirrel 8 11 13 19  surfboard 4 5 8 12  swing 10 14 17 20  tank 6 9 14 16  tiger 4 6 12 18  train 1 7 11 20
truck 3 6 7 16  turtle 5 8 9 16  umbrella 2 9 17 19  volleyball 1 13 18 19  yoyo 7 15 17 19  zebra 10 14 16 17
"""


def _pairs(text: str) -> dict[str, int]:
    cells = text.split()
    return dict(zip(cells[::2], map(int, cells[1::2]), strict=True))


def _lasot_names(text: str) -> tuple[str, ...]:
    names: list[str] = []
    name = ""
    for cell in text.split():
        if cell.isdigit():
            names.append(f"{name}-{cell}")
        else:
            name = cell
    return tuple(names)


OTB100 = _pairs(_OTB100)  # frames that the benchmark takes of each sequence
LASOT_TEST = _lasot_names(_LASOT_TEST)  # the test set of protocol II
DAVIS2017_VAL = (
    *("bike-packing", "blackswan", "bmx-trees", "breakdance", "camel", "car-roundabout", "car-shadow"),
    *("cows", "dance-twirl", "dog", "dogs-jump", "drift-chicane", "drift-straight", "goat", "gold-fish"),
    *("horsejump-high", "india", "judo", "kite-surf", "lab-coat", "libby", "loading", "mbike-trick"),
    *("motocross-jump", "paragliding-launch", "parkour", "pigs", "scooter-black", "shooting", "soapbox"),
)
DAVIS2017_VAL_COUNTS = (1999, 61)  # frames, objects
MOT16_TRAIN = {"02": 600, "04": 1050, "05": 837, "09": 525, "10": 654, "11": 900, "13": 750}  # frames
MOT16_TEST = {"01": 450, "03": 1500, "06": 1194, "07": 500, "08": 625, "12": 900, "14": 750}
MOTS20_TRAIN = {name: MOT16_TRAIN[name] for name in ("02", "05", "09", "11")}
MOTS20_TEST = {name: MOT16_TEST[name] for name in ("01", "06", "07", "12")}
MOT17_DETECTORS = ("DPM", "FRCNN", "SDP")  # each sequence is there three times
POSETRACK18_VIDEOS = {"val": 170, "train": 593}  # with annotations
