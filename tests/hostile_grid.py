"""Hostile and odd inputs for the entry points of the grid: what each puts into its folder and asks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hostile import MARKER

GOOD = "dataset: d\nprotocol: knn-k20\ndata_dir: absent\nk: 20\n"
SUITE = "name: grid\nrandom: false\ntasks:\n  - {{task: knn, config: {config}}}\n{more}"
SUITES, TASKS, LINT, DATA = "suite", "transfer", "lint", "prepare_data"
SECRET_NAME, SECRET = "MEC_TRANSFER_TEST_TOKEN", "s3cr3t-0f-th3-us3r"
BACKBONE = "../backbone.safetensors"  # beside the folder in which a case runs


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        name: what is odd about it.
        program: one of the four entry points.
        prepare: writes the input into the working folder, which holds ``knn.yaml``; returns the words.
        status: exit statuses that are right: 2 (1 of prepare_data) where the input must be refused.
        says: a regular expression that the refusal must match.
    """

    name: str
    program: str
    prepare: Callable[[Path], list[str]]
    status: tuple[int, ...] = (2,)
    says: str = ""


def word_cases() -> list[Case]:
    return [*suite_yaml_cases(), *name_cases(), *path_cases(), *option_cases()]


def suite_words(suite: str = "suite.yaml", *more: str) -> list[str]:
    return [suite, "--backbone", BACKBONE, "--dry-run", *more]


def suite_file(content: str | bytes, *more: str) -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        raw = content.encode() if isinstance(content, str) else content
        (folder / "suite.yaml").write_bytes(raw.replace(b"MARKER", str(folder.parent / MARKER).encode()))
        return suite_words("suite.yaml", *more)

    return prepare


def suite_yaml_cases() -> Iterator[Case]:
    """Suite files, and the same content as a task's configuration."""
    laughs = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)
    )
    merges = "a0: &a0 {k: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40)
    )
    tags = {
        "os.system": "!!python/object/apply:os.system ['touch MARKER']",
        "eval": "!!python/object/apply:eval [\"open('MARKER', 'w')\"]",
        "exec": "!!python/object/new:exec [\"open('MARKER', 'w')\"]",
        "subprocess": "!!python/object/apply:subprocess.Popen [[touch, MARKER]]",
        "a module": "!!python/module:os",
        "a name": "!!python/name:os.system",
        "a path": "!!python/object/apply:pathlib.PosixPath ['/etc']",
        "a tuple": "!!python/tuple [1, 2]",
        "a local tag": "!include knn.yaml",
        "verbatim": "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch MARKER']",
    }
    contents: dict[str, tuple[str | bytes, str]] = {
        **{f"the tag of {label}": (f"name: {tag}\n", "found the tag") for label, tag in tags.items()},
        "a tag handle": (
            "%TAG !p! tag:yaml.org,2002:python/object/apply:\n---\nname: !p!os.system ['touch MARKER']\n",
            "found the tag",
        ),
        "a tagged key": ("? !!python/object/apply:os.system ['touch MARKER']\n: 1\n", "found the tag"),
        "a billion laughs": (laughs, "aliases that make more"),
        "a billion merges": (merges, "aliases that make more"),
        "an alias inside of itself": ("name: &a [*a]\n", "inside of what it stands for"),
        "an alias of nothing": ("name: *nothing\n", "undefined alias"),
        "a key twice": ("name: a\nname: b\n", "stands there twice"),
        "lists 1,000 deep": ("name: " + "[" * 1000 + "]" * 1000, "levels"),
        "maps 3,000 deep": ("{a: " * 3000 + "1" + "}" * 3000, "levels"),
        "an open list": ("name: [", "expected plain YAML"),
        "tabs": ("name:\n\t- a\n", "expected plain YAML"),
        "two documents": ("name: a\n---\nname: b\n", "expected plain YAML"),
        "a NUL byte": (b"name: a\0b\n", "expected plain YAML"),
        "no UTF-8": (b"name: \xff\xfe\xfa\n", "expected UTF-8"),
        "two megabytes": ("#" * (2 << 20), "expected at most"),
        "nothing": ("", "name"),
        "a list": ("- a\n- b\n", ""),
        "a text": ("just words\n", "just words"),
        "a number of 10,000 digits": ("cores: " + "9" * 10_000 + "\n", ""),
        "a number of 400 digits": ("name: a\nseeds: [" + "9" * 400 + "]\n", ""),
        "a number of base 60": ("name: a\nseeds: [" + ":".join(["59"] * 5000) + "]\n", ""),
        "an unknown key": ("name: a\ncommand: touch MARKER\n", "command"),
        "a dunder key": ("name: a\n__class__: os.system\n", "__class__"),
        "tasks as text": ("name: a\ntasks: touch MARKER\n", ""),
        "tasks as numbers": ("name: a\ntasks: [1, 2]\n", ""),
        "no task": ("name: a\ntasks: []\n", "expected tasks"),
        "an unknown task": ("name: a\ntasks: [{task: os.system, config: knn.yaml}]\n", "is unknown"),
        "a task with a line break": ('name: a\ntasks: [{task: "knn\\nx", config: knn.yaml}]\n', "unknown"),
        "a secret as the name": (f"name: ${{oc.env:{SECRET_NAME}}}\n", "no interpolation but"),
        "a secret by another name": ("name: a\nbundled_data: ${oc.${x}:HOME}\n", "no interpolation but"),
        "a secret in a path": (f"name: a\nbundled_data: /x/${{oc.env:{SECRET_NAME}}}\n", "no interpolation"),
        "a decoded secret": (f"name: ${{oc.decode:${{oc.env:{SECRET_NAME}}}}}\n", "no interpolation but"),
        "an unknown resolver": ("name: ${system:touch MARKER}\n", "no interpolation but"),
        "doubling interpolations": ("name: ${pretrain}${pretrain}\npretrain: ${name}\n", "no interpolation"),
        "an open interpolation": ("name: '${'\n", "no interpolation but"),
    }
    for label, (content, says) in contents.items():
        yield Case(f"suite: {label}", SUITES, suite_file(content), says=says)
    for label in ("the tag of os.system", "a billion laughs", "lists 1,000 deep", "a secret as the name"):
        content, says = contents[label]

        def prepare(folder: Path, content: str | bytes = content) -> list[str]:
            suite_file(content)(folder)
            return ["knn", "suite.yaml", "--backbone", BACKBONE, "--out", "out"]

        yield Case(f"configuration: {label}", TASKS, prepare, says=says)


def name_cases() -> Iterator[Case]:
    """Names of suites, which name the run folder."""
    names = {
        "up": '"../escaped"',
        "up twice": '"a/../../escaped"',
        "absolute": '"/tmp/escaped"',
        "a separator": '"a/b"',
        "a dot": '"."',
        "two dots": '".."',
        "hidden": '".ssh"',
        "a leading dash": '"-rf"',
        "a space": '"a b"',
        "a line break": '"a\\nb"',
        "an escape": '"\\e]0;x\\a"',
        "a command": '"$(touch MARKER)"',
        "backticks": '"`touch MARKER`"',
        "a semicolon": '"a;touch MARKER"',
        "a glob": '"*"',
        "right to left": '"\\u202egrid"',
        "a combining accent": '"gri\\u0301d"',
        "300 characters": "a" * 300,
        "nothing": '""',
    }
    for label, name in names.items():
        content = SUITE.format(config="knn.yaml", more="").replace("name: grid", f"name: {name}")
        yield Case(f"name: {label}", SUITES, suite_file(content), says="name: expected at most 100 letters")


def path_cases() -> Iterator[Case]:
    """Odd names of configurations, suites and backbones: they work, or are refused for what they are."""
    odd = {
        "spaces": "a b  c",
        "quotes": 'it\'s "x"',
        "a leading dash": "-rf",
        "two leading dashes": "--out",
        "a command": "$(touch MARK)",
        "backticks": "`touch MARK`",
        "a semicolon": ";touch MARK;",
        "a pipe": "|touch MARK",
        "a glob": "*[a-z]?",
        "percent signs": "%s%j%n",
        "braces": "{0}{x}",
        "an interpolation": "${oc.env:HOME}",
        "a combining accent": "e\u0301te\u0301",
        "right to left letters": "\u05d0\u05d1",
        "an emoji": "\U0001f680",
        "a hash sign": "#a",
        "an equals sign": "seed=7",
        "a tilde": "~root",
        "a backslash": "a\\nb",
    }
    broken = {
        "a line break": "a\nb",
        "a return": "a\rb",
        "an escape": "\x1b[2J",
        "an override of direction": "\u202egpj",
        "bytes that are no UTF-8": os.fsdecode(b"\xff\xfe"),
    }
    for label, stem in {**odd, **broken}.items():
        fine = label in odd
        status, says = ((0,), "") if fine else ((2,), "expected a path without line breaks|expected UTF-8")

        def config(folder: Path, stem: str = stem) -> list[str]:
            (folder / f"{stem}.yaml").write_text(GOOD)
            quoted = "".join(rf"\u{ord(c):04x}" if ord(c) < 0x10000 else rf"\U{ord(c):08x}" for c in stem)
            return suite_file(SUITE.format(config=f'"{quoted}.yaml"', more=""))(folder)

        if label not in ("an interpolation", "bytes that are no UTF-8"):  # other cases; YAML has no such text
            yield Case(f"configuration named with {label}", SUITES, config, status, says)

        def backbone(folder: Path, stem: str = stem) -> list[str]:
            os.link(folder / BACKBONE, folder / f"{stem}.safetensors")
            words = [*suite_file(SUITE.format(config="knn.yaml", more=""))(folder), "--dry-run"]
            name = f"{stem}.safetensors"
            words[2] = f"./{name}" if name.startswith("-") else name
            return words

        yield Case(f"backbone named with {label}", SUITES, backbone, status, says)
        if label in ("spaces", "a command", "an escape", "a line break", "a semicolon", "percent signs"):

            def out(folder: Path, stem: str = stem) -> list[str]:
                return [*suite_file(SUITE.format(config="knn.yaml", more=""))(folder), "--out", stem]

            yield Case(f"run folder named with {label}", SUITES, out, status, says)

    def suite_is(make: Callable[[Path], object], word: str = "suite.yaml") -> Callable[[Path], list[str]]:
        def prepare(folder: Path) -> list[str]:
            make(folder / "suite.yaml")
            return suite_words(word)

        return prepare

    yield Case("suite is a folder", SUITES, suite_is(Path.mkdir))
    yield Case("suite is a pipe", SUITES, suite_is(os.mkfifo))
    yield Case("suite is a link to itself", SUITES, suite_is(lambda path: path.symlink_to(path)))
    yield Case("suite is a device", SUITES, suite_is(lambda path: path.symlink_to("/dev/zero")))
    yield Case("suite's name is too long", SUITES, suite_is(lambda path: None, "s" * 5000))
    yield Case("suite with a NUL", SUITES, suite_is(lambda path: None, "s\0s"))


def option_cases() -> Iterator[Case]:
    """Words of the command line that end in a batch script, a number or a choice."""
    slurm = ["--executor", "slurm"]
    injected = {
        "a line break": "x\ntouch MARKER",
        "a directive": "x\n#SBATCH --uid=root",
        "a return": "x\rtouch MARKER",
        "a semicolon": "x; touch MARKER",
        "a command": "$(touch MARKER)",
        "a quote": "x' --uid=root '",
        "a leading dash": "-x",
        "nothing": "",
        "a space": "a b",
        "letters beyond ASCII": "\uff58",
    }
    for label, value in injected.items():
        for option in ("--partition", "--account"):
            words = [*slurm, f"{option}={value}"]
            yield Case(f"{option} with {label}", SUITES, _good(*words), says=f"slurm parameter {option[2:]}")
    pairs = {
        "a program": "setup=touch MARKER",
        "more parameters": "additional_parameters=x",
        "arguments of srun": "srun_args=--pty",
        "a line break in the value": "qos=a\ntouch MARKER",
        "a line break in the key": "qos\ntouch MARKER=a",
        "a key of options": "qos --uid=a",
        "an empty key": "=a",
        "another output": "output=/tmp/escaped",
    }
    for label, pair in pairs.items():
        yield Case(f"--slurm with {label}", SUITES, _good(*slurm, f"--slurm={pair}"), says="slurm parameter")
    yield Case("--slurm without a value", SUITES, _good(*slurm, "--slurm=qos"), says="expected KEY=VALUE")
    garbage = {
        "--seeds": ("x", "1,,2", "1;touch MARKER", "0x1", "9" * 400, "-1", "1.5", "nan"),
        "--time": ("x", "-5", "1:2", "0", "1e9", "00:00:00", "9" * 5000, "24:00:00\n#SBATCH -A x"),
        "--only": ("x", "knn;touch MARKER", "", "../knn"),
        "--jobs": ("0", "-1", "x"),
        "--num-gpus": ("-1", "0", "x"),
        "--array-parallelism": ("-1", "0", "x\n"),
        "--executor": ("debug", "slurm;"),
    }
    for option, values in garbage.items():
        where = slurm if option in ("--time", "--array-parallelism") else []
        for value in values:
            yield Case(f"{option} {value[:20]!a}", SUITES, _good(*where, f"{option}={value}"))


def _good(*more: str) -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        marker = str(folder.parent / MARKER)
        words = [word.replace("MARKER", marker) for word in more]
        return suite_file(SUITE.format(config="knn.yaml", more=""), *words)(folder)

    return prepare
