"""Hostile files for the entry points of the grid: programs, checkpoints, archives, run folders."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from hostile import FORMS, MARKER, SENTINEL, mapping, pack, program, text
from hostile_grid import BACKBONE, DATA, LINT, SUITE, SUITES, TASKS, Case, suite_file
from hostile_pickles import programs

from transfer.backbone.checkpoint import file_sha256
from transfer.backbone.contract import read_backbone, write_backbone
from transfer.suite.job import Job, write_plan

VOC = ("VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar")


def file_cases() -> list[Case]:
    return [*program_cases(), *checkpoint_cases(), *archive_cases(), *folder_cases()]


def program_cases() -> Iterator[Case]:
    """Configurations that are programs: none runs that is not our own."""
    run = "import os\nos.system('touch {marker}')\nopen({marker!r}, 'w')\nmodel = dict(type='X')\n"
    lazy = "from detectron2.config import LazyCall\n" + run
    imports = "custom_imports = dict(imports=['evil'])\nmodel = dict(type='X')\n"
    ours = "configs/track/mmtrack/siamese_rpn_mini.py"
    root = Path(__file__).resolve().parent.parent
    yaml_run = "MODEL: !!python/object/apply:os.system ['touch {marker}']\nVERSION: 2\n"

    def lint(file: str, content: str, beside: dict[str, str] | None = None) -> Callable[[Path], list[str]]:
        def prepare(folder: Path) -> list[str]:
            marker = str(folder.parent / MARKER)
            for name, part in {file: content, **(beside or {})}.items():
                (folder / name).write_text(
                    part.replace("{marker!r}", repr(marker)).replace("{marker}", marker)
                )
            return [BACKBONE, file]

        return prepare

    flag = "--trust-config"
    yield Case("lint: an mmcv program", LINT, lint("c.py", run), says=flag)
    yield Case("lint: a LazyConfig", LINT, lint("c.py", lazy), says=flag)
    yield Case("lint: custom_imports", LINT, lint("c.py", imports, {"evil.py": run}), says=flag)
    yield Case(
        "lint: a base of ours below code", LINT, lint("c.py", f"_base_ = '{root}/{ours}'\n" + run), says=flag
    )
    yield Case("lint: detectron2 YAML that calls", LINT, lint("c.yaml", yaml_run), says=flag)
    base = {"base.yaml": yaml_run}
    yield Case(
        "lint: whose base calls", LINT, lint("c.yaml", "_BASE_: base.yaml\nVERSION: 2\n", base), says=flag
    )
    remote = "_BASE_: http://127.0.0.1:9/x.yaml\nVERSION: 2\n"
    yield Case("lint: whose base is on the net", LINT, lint("c.yaml", remote), says=flag)
    lazy_yaml = "model: !!python/object/apply:os.system ['touch {marker}']\n"
    yield Case("lint: a LazyConfig's dump that calls", LINT, lint("c.yaml", lazy_yaml), says=flag)
    yield Case("lint: no Python", LINT, lint("c.py", "def"), says="not Python")
    yield Case("lint: a NUL byte", LINT, lint("c.py", "model = 1\0"), says="not Python")
    yield Case(
        "lint: brackets 100,000 deep", LINT, lint("c.py", "model = " + "(" * 100_000), says="not Python"
    )
    yield Case("lint: 50,000 signs", LINT, lint("c.py", "model = " + "-" * 50_000 + "1"), says="not Python")

    def linked(folder: Path) -> list[str]:
        lint("program.py", run)(folder)
        (folder / "configs").mkdir()
        (folder / "configs/c.py").symlink_to(folder / "program.py")
        return [BACKBONE, "configs/c.py"]

    yield Case("lint: a link below another configs/", LINT, linked, says=flag)
    for task, key in (("sot", "mmtrack_config"), ("mot", "tracker"), ("mot", "detector"), ("vis", "tracker")):

        def recipe(folder: Path, task: str = task, key: str = key) -> list[str]:
            lint("recipe.py", run)(folder)
            videos = "{annotations: a.json, images: i}" if task == "vis" else "{root: r}"
            rest = "" if task == "sot" else f"train: {videos}\ntest: {videos}\n"
            rest += "" if key in ("tracker", "mmtrack_config") else f"tracker: {root}/{ours}\n"
            (folder / "task.yaml").write_text(f"dataset: d\nprotocol: p\n{rest}{key}: recipe.py\n")
            return [task, "task.yaml", "--backbone", BACKBONE, "--out", "out"]

        yield Case(f"{task}: {key} is a program", TASKS, recipe, says=flag)

    def in_suite(folder: Path) -> list[str]:
        recipe(folder, "sot", "mmtrack_config")
        content = SUITE.format(config="task.yaml", more="").replace("task: knn", "task: sot")
        return suite_file(content)(folder)

    yield Case("suite: a recipe that is a program", SUITES, in_suite, says=flag)

    def detection(folder: Path) -> list[str]:
        lint("c.yaml", yaml_run)(folder)
        (folder / "task.yaml").write_text("dataset: d\nprotocol: p\ndetectron2_path: c.yaml\n")
        return ["detect", "task.yaml", "--backbone", BACKBONE, "--out", "out"]

    yield Case("detect: a YAML that calls", TASKS, detection, says="plain YAML")


def checkpoint_cases() -> Iterator[Case]:
    """Backbones that are programs, or nothing of the kind."""
    for index, label in enumerate(programs(Path())):

        def prepare(folder: Path, label: str = label, form: str = FORMS[index % 3]) -> list[str]:
            body = program(mapping(text("model"), programs(folder.parent)[label]), 4)
            pack(body, form, folder / "checkpoint.pth")
            suite_file(SUITE.format(config="knn.yaml", more=""))(folder)
            return ["suite.yaml", "--backbone", "checkpoint.pth", "--out", "out"]

        yield Case(f"checkpoint: {label}", SUITES, prepare, says="nothing in it was executed|refused")
    for label, make in {
        "a pipe": os.mkfifo,
        "a folder": Path.mkdir,
        "a device": lambda path: path.symlink_to("/dev/zero"),
        "empty": Path.touch,
        "a link to nothing": lambda path: path.symlink_to("nothing"),
    }.items():
        for suffix in (".safetensors", ".pth"):

            def prepare_file(
                folder: Path, make: Callable[[Path], object] = make, suffix: str = suffix
            ) -> list[str]:
                make(folder / f"b{suffix}")
                suite_file(SUITE.format(config="knn.yaml", more=""))(folder)
                return ["suite.yaml", "--backbone", f"b{suffix}", "--out", "out"]

            yield Case(f"backbone{suffix} is {label}", SUITES, prepare_file)


def archive_cases() -> Iterator[Case]:
    """Archives of data: what leads out of the folder is refused, and nothing of the rest stays."""
    members: dict[str, tuple[str, bytes | None, str]] = {  # name, type, link
        "up": ("../../escaped", None, ""),
        "absolute": ("/tmp/mec-transfer-escaped", None, ""),
        "up inside": ("train/../../../escaped", None, ""),
        "a link out": ("train/a", tarfile.SYMTYPE, "/etc"),
        "a relative link out": ("train/a", tarfile.SYMTYPE, "../../.."),
        "a hard link out": ("train/a", tarfile.LNKTYPE, "../../../backbone.safetensors"),
        "a character device": ("train/a", tarfile.CHRTYPE, ""),
        "a block device": ("train/a", tarfile.BLKTYPE, ""),
        "a pipe": ("train/a", tarfile.FIFOTYPE, ""),
    }
    commands = {"cifar10": "cifar.tar", "davis": "davis.tar", "voc": VOC[0]}
    says = {"voc": "expected md5"}  # known by checksum, they are not even opened
    for label, (name, kind, link) in members.items():
        for command, file in commands.items():

            def tar(
                folder: Path,
                command: str = command,
                file: str = file,
                member: tuple[str, bytes | None, str] = (name, kind, link),
            ) -> list[str]:
                prefix = {"voc": "VOCdevkit/VOC2007/JPEGImages/", "davis": "DAVIS/JPEGImages/480p/"}
                with tarfile.open(folder / file, "w") as archive:
                    _add(archive, prefix.get(command, "") + "train/ok.jpg", None, "")
                    own = (
                        member[0]
                        if member[0].startswith(("/", ".."))
                        else prefix.get(command, "") + member[0]
                    )
                    _add(archive, own, member[1], member[2])
                return _data_words(folder, command, file)

            yield Case(f"{command}: {label}", DATA, tar, (1,), says.get(command, "refused member"))
    for label, name in {"up": "../../escaped", "absolute": "/tmp/mec-transfer-escaped"}.items():

        def zipped(folder: Path, name: str = name) -> list[str]:
            with zipfile.ZipFile(folder / "davis.zip", "w") as archive:
                archive.writestr("DAVIS/JPEGImages/480p/bear/00000.jpg", b"x")
                archive.writestr(name, b"x")
            return _data_words(folder, "davis", "davis.zip")

        yield Case(f"davis.zip: {label}", DATA, zipped, (1,), "outside of the folder")
    yield Case("cifar10: a file twice", DATA, _twice, (1,), "exists")
    bomb = "unpacks to over 100 times its size"
    yield Case("cifar10: a bomb", DATA, _bomb("cifar10", "cifar.tar.gz", "train/a/0.png"), (1,), bomb)
    frame = "DAVIS/JPEGImages/480p/bear/00000.jpg"
    yield Case("davis.tar.gz: a bomb", DATA, _bomb("davis", "davis.tar.gz", frame), (1,), bomb)
    yield Case("davis.zip: a bomb", DATA, _bomb("davis", "davis.zip", frame), (1,), bomb)
    for label, content in {"empty": b"", "no archive": b"x" * 5000, "cut off": b"\x1f\x8b\x08"}.items():
        for command, file in commands.items():

            def raw(
                folder: Path, command: str = command, file: str = file, content: bytes = content
            ) -> list[str]:
                (folder / file).write_bytes(content)
                return _data_words(folder, command, file)

            yield Case(f"{command}: {label}", DATA, raw, (1,), says.get(command, "damaged"))


def _twice(folder: Path) -> list[str]:
    with tarfile.open(folder / "cifar.tar", "w") as archive:
        _add(archive, "train/a/0.png", None, "")
        _add(archive, "train/a/0.png", None, "")
    return _data_words(folder, "cifar10", "cifar.tar")


def _bomb(command: str, file: str, name: str) -> Callable[[Path], list[str]]:
    """300 MB of zeros in 300 kB."""

    def prepare(folder: Path) -> list[str]:
        zeros, size = bytes(1 << 20), 300 << 20
        if file.endswith(".zip"):
            with (
                zipfile.ZipFile(folder / file, "w", zipfile.ZIP_DEFLATED) as packed,
                packed.open(name, "w") as entry,
            ):
                for _ in range(size >> 20):
                    entry.write(zeros)
        else:
            with gzip.open(folder / file, "wb") as stream:
                member = tarfile.TarInfo(name)
                member.size = size
                stream.write(member.tobuf())
                for _ in range(size >> 20):
                    stream.write(zeros)
        return _data_words(folder, command, file)

    return prepare


def _add(archive: tarfile.TarFile, name: str, kind: bytes | None, link: str) -> None:
    member = tarfile.TarInfo(name)
    member.linkname = link
    if kind is not None:
        member.type = kind
    content = b"" if kind is not None else b"x"
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _data_words(folder: Path, command: str, file: str) -> list[str]:
    if command == "voc":
        with tarfile.open(folder / VOC[1], "w"):
            pass
    source = "." if command == "voc" else file
    more = ["--years", "2007"] if command == "voc" else []
    return [command, "--from", source, "--to", "out", *more]


def folder_cases() -> Iterator[Case]:
    """Run folders in which somebody has put something in place of the files that state is read from."""
    kinds: dict[str, Callable[[Path], object]] = {
        "a pipe": os.mkfifo,
        "a folder": Path.mkdir,
        "a link out": lambda path: path.symlink_to(os.path.abspath("../outside.txt")),
        "a link to a device": lambda path: path.symlink_to("/dev/zero"),
        "bytes": lambda path: path.write_bytes(b"\xff\0\xfe"),
        "a field of a megabyte": lambda path: path.write_text("status\n" + "x" * (1 << 20) + "\n"),
        "JSON 100,000 deep": lambda path: path.write_text("[" * 100_000),
        "a list": lambda path: path.write_text("[[1]]"),
        "JSON of null": lambda path: path.write_text('[{"words": null, "needs": {"data": null}}]'),
        "escapes": lambda path: path.write_text("status,wall_s\nfailed: \x1b]0;x\x07\x1b[2J,nan\n"),
    }
    for label, make in kinds.items():

        def status(folder: Path, make: Callable[[Path], object] = make) -> list[str]:
            (folder / "out").mkdir()
            make(folder / "out/plan.json")
            return [
                *suite_file(SUITE.format(config="knn.yaml", more=""))(folder)[:1],
                "--out",
                "out",
                "--status",
            ]

        yield Case(f"status: plan.json is {label}", SUITES, status, says="not a plan")
        for name in ("key.txt", "results.csv", "running.json", "console.txt", ".claim"):

            def planned(folder: Path, name: str = name, make: Callable[[Path], object] = make) -> list[str]:
                out = Path("out")
                job = Job("knn", "knn.yaml", "mec", "resnet18", "b", 0, "out/job", "key", ("knn",))
                write_plan(out, [job])
                job.folder.mkdir()
                if name != "key.txt":
                    (job.folder / "key.txt").write_text("key\n")
                make(job.folder / name)
                return [
                    *suite_file(SUITE.format(config="knn.yaml", more=""))(folder)[:1],
                    "--out",
                    "out",
                    "--status",
                ]

            yield Case(f"status: {name} is {label}", SUITES, planned, (0, 1))

            def run(folder: Path, name: str = name, make: Callable[[Path], object] = make) -> list[str]:
                digest = file_sha256(folder / BACKBONE)[:8]
                job = folder / "out" / f"random-{digest}" / "knn-seed0"
                job.mkdir(parents=True)
                make(job / name)
                suite_file(SUITE.format(config="knn.yaml", more=""))(folder)
                return ["suite.yaml", "--backbone", BACKBONE, "--out", "out"]

            if label in ("a pipe", "a link out") and name != "console.txt":
                yield Case(f"run: {name} is {label}", SUITES, run, (0, 1, 2))

    def led_out(folder: Path) -> list[str]:
        digest = file_sha256(folder / BACKBONE)[:8]
        (folder / "out").mkdir()
        (folder / "out" / f"random-{digest}").symlink_to(folder.parent / SENTINEL)
        return [*suite_file(SUITE.format(config="knn.yaml", more=""))(folder)[:3], "--out", "out"]

    yield Case("run: a backbone's folder leads out", SUITES, led_out, says="a link leads out of out")

    def method(folder: Path) -> list[str]:
        backbone = read_backbone(folder / BACKBONE)
        info = replace(backbone.info, method="../../../escaped")
        write_backbone(folder / "own.safetensors", backbone.state, info)
        suite_file(SUITE.format(config="knn.yaml", more=""))(folder)
        return ["suite.yaml", "--backbone", "own.safetensors", "--out", "out"]

    yield Case("run: a method that leads out", SUITES, method, (1,))
