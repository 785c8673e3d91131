"""Pickles that would run something, or exhaust the machine."""

from __future__ import annotations

import struct
from pathlib import Path

from hostile import (
    MARKER,
    SENTINEL,
    Case,
    build,
    call,
    in_forms,
    listed,
    mapping,
    name,
    new,
    number,
    pack,
    program,
    several,
    stack_name,
    text,
)

REFUSED = "names .*nothing in it was executed"
NAMESPACE = name("argparse", "Namespace")
ORDERED = name("collections", "OrderedDict")


def programs(folder: Path) -> dict[str, bytes]:
    """What runs when the pickle is loaded carelessly: each makes the marker or deletes the sentinel."""
    marker, sentinel = folder / MARKER, folder / SENTINEL
    command, code = text(f"touch {marker}"), text(f"open({str(marker)!r}, 'w').close()")
    statement = text(f"open({str(marker)!r}, 'w')")
    module = call(name("importlib", "import_module"), text("os"))
    return {
        "os.system": call(name("os", "system"), command),
        "posix.system": call(name("posix", "system"), command),
        "nt.system": call(name("nt", "system"), command),
        "os.popen": call(name("os", "popen"), command),
        "os.execlp": call(name("os", "execlp"), text("touch"), text("touch"), text(str(marker))),
        "subprocess.Popen": call(name("subprocess", "Popen"), listed(text("touch"), text(str(marker)))),
        "subprocess.call": call(name("subprocess", "call"), listed(text("touch"), text(str(marker)))),
        "builtins.eval": call(name("builtins", "eval"), code),
        "builtins.exec": call(name("builtins", "exec"), code),
        "Python 2's eval": call(name("__builtin__", "eval"), code),
        "builtins.open": call(name("builtins", "open"), text(str(marker)), text("w")),
        "builtins.__import__ and getattr": call(
            call(
                name("builtins", "getattr"), call(name("builtins", "__import__"), text("os")), text("system")
            ),
            command,
        ),
        "shutil.rmtree": call(name("shutil", "rmtree"), text(str(sentinel))),
        "pathlib.Path.rmdir": call(
            name("pathlib", "Path.rmdir"), call(name("pathlib", "Path"), text(str(sentinel)))
        ),
        "functools.partial": call(call(name("functools", "partial"), name("os", "system"), command)),
        "operator.attrgetter": call(
            call(call(name("operator", "attrgetter"), text("system")), module), command
        ),
        "operator.methodcaller": call(
            call(name("operator", "methodcaller"), text("system"), command), module
        ),
        "importlib.import_module": module,
        "torch.hub": call(name("torch.hub", "load"), text("a/b"), text("c")),
        "torch.load": call(name("torch", "load"), text(str(folder / "other.pth"))),
        "torch.serialization.load": call(name("torch.serialization", "load"), text(str(folder / "o.pth"))),
        "pickle.loads": call(
            name("pickle", "loads"), call(name("_codecs", "encode"), text("cos\nsystem\n."))
        ),
        "runpy.run_path": call(name("runpy", "run_path"), text(str(folder / "o.py"))),
        "timeit.timeit": call(name("timeit", "timeit"), code),
        "cProfile.run": call(name("cProfile", "run"), code),
        "numpy runstring": call(name("numpy.testing._private.utils", "runstring"), statement, mapping()),
        "ctypes.CDLL": call(name("ctypes", "CDLL"), text("libc.so.6")),
        "webbrowser.open": call(name("webbrowser", "open"), text("file:///")),
        "a whole nn.Module": build(
            new(name("torchvision.models.resnet", "ResNet")), mapping(text("training"), b"\x89")
        ),
    }


def program_cases() -> list[Case]:
    """Every program in every form; bare pickles also by STACK_GLOBAL."""

    def case(label: str, form: str) -> Case:
        def write(folder: Path) -> Path:
            body = program(mapping(text("model"), programs(folder)[label]), 4)
            return pack(body, form, folder / "input.pth")

        return Case(f"{label} ({form})", write, REFUSED)

    return [case(label, form) for label in programs(Path()) for form in ("zip", "legacy", "pickle")]


def trick_cases() -> list[Case]:
    """Detours: names with dots, state that carries functions, registered codes, persistent ids."""
    system = name("os", "system")
    command = text("true")
    namespace = new(NAMESPACE)
    cases: dict[str, tuple[bytes, str]] = {
        "a method of an allowed class": (call(name("argparse", "Namespace.__init__"), command), "names"),
        "a subclass hook of an allowed class": (call(name("argparse", "Namespace.__subclasses__")), "names"),
        "a class method": (call(name("collections", "OrderedDict.fromkeys"), command), "names"),
        "an attribute named dict": (name("collections", "OrderedDict.__dict__"), "names"),
        "an empty name": (name("", ""), ""),
        "a name with a space": (name("argparse ", "Namespace"), ""),
        "a function as state": (build(namespace, system), "names"),
        "a function as __setstate__": (
            build(build(namespace, mapping(text("__setstate__"), system)), command),
            "names",
        ),
        "slots": (build(namespace, several(b"N", mapping(text("__class__"), system))), "names"),
        "__reduce__ of an allowed class": (call(name("argparse", "Namespace.__reduce__"), command), "names"),
        "INST": (b"(" + command + b"ios\nsystem\n", ""),
        "OBJ": (b"(" + system + command + b"o", ""),
        "NEWOBJ_EX": (system + several(command) + mapping() + b"\x92", ""),
        "an extension code": (call(b"\x82\xf0", command), ""),
        "an unknown extension code": (call(b"\x84\xff\xff\xff\x7f", command), ""),
        "a persistent id in text": (b"P7\n", ""),
        "a persistent id": (text("archive/../../etc/passwd") + b"Q", ""),
        "a persistent id of another kind": (several(text("module"), system, b"N") + b"Q", ""),
        "a buffer outside": (b"\x97", ""),
        "APPEND to an object": (namespace + command + b"a", ""),
        "SETITEM on an object": (namespace + command + command + b"s", ""),
        "ADDITEMS to an object": (namespace + b"(" + command + b"\x90", ""),
        "REDUCE of a string": (call(command, command), ""),
        "REDUCE of an object": (call(namespace, command), ""),
        "REDUCE of a dictionary": (call(mapping(), command), ""),
        "BUILD on a dictionary": (build(mapping(), mapping(text("items"), namespace)), ""),
        "BUILD on a class": (build(NAMESPACE, several(b"N", mapping(text("a"), command))), ""),
        "BUILD on OrderedDict's items": (
            build(call(ORDERED), mapping(text("items"), NAMESPACE)),
            "no tensors",
        ),
        "BUILD on OrderedDict's values": (
            build(call(ORDERED), mapping(text("values"), command)),
            "no tensors",
        ),
    }
    found = []
    for label, (body, says) in cases.items():
        found += in_forms(label, program(mapping(text("model"), body)), says, ("zip", "pickle"))
    dotted = [
        ("argparse", "os.system"),
        ("argparse", "_sys.modules"),
        ("collections", "_sys.exit"),
        ("os", ""),
    ]
    for module, attribute in dotted:
        body = program(mapping(text("model"), call(stack_name(module, attribute), command)), 4)
        found += in_forms(f"STACK_GLOBAL {module} {attribute}", body, "", ("zip", "pickle"))
    body = program(mapping(text("model"), number(1) + text("system") + b"\x93"), 4)
    return found + in_forms("STACK_GLOBAL of a number", body, "", ("zip", "pickle"))


def doubled(levels: int, start: bytes, step: bytes) -> bytes:
    """Each level holds the one before twice, without being any larger in the file: 2 ** levels leaves."""
    return start + b"".join(
        b"q" + bytes([level]) + b"0" + step.replace(b"?", b"h" + bytes([level])) for level in range(levels)
    )


def bomb_cases() -> list[Case]:
    """Small files that would take all memory, the whole stack or for ever."""
    lists = doubled(60, b"]", b"](??e")
    tuples = doubled(60, b")", b"??\x86")
    deep = b")" + b"\x85" * 300_000
    huge = (1 << 62).to_bytes(8, "little")
    frozen = doubled(60, b"(" + text("a") + b"\x91", b"(??\x85\x91")
    bodies: dict[str, bytes] = {
        "a billion lists": lists,
        "a billion tuples": tuples,
        "a billion tuples as a key": mapping(tuples, number(1)),
        "a billion tuples in an ordered dictionary": call(ORDERED, listed(several(tuples, number(1)))),
        "a billion frozen sets": mapping(frozen, number(1)),
        "lists 100 000 deep": b"]" * 100_000 + b"a" * 99_999,
        "dictionaries 5 000 deep": (b"}" + text("a")) * 5000 + b"N" + b"s" * 5000,
        "a list that holds itself": b"]q\x00h\x00a",
        "tuples 300 000 deep": deep,
        "tuples 300 000 deep as a key": mapping(deep, number(1)),
        "LONG4 of 2 GB": b"\x8b" + struct.pack("<i", 2**31 - 1),
        "LONG4 of a negative size": b"\x8b" + struct.pack("<i", -5),
        "BINBYTES8 of an exabyte": b"\x8e" + huge,
        "BINUNICODE8 of a terabyte": b"\x8d" + (1 << 40).to_bytes(8, "little"),
        "BINUNICODE of 4 GB": b"X\xff\xff\xff\xff",
        "BYTEARRAY8 of 64 GB": b"\x96" + (1 << 36).to_bytes(8, "little"),
        "BINSTRING of a negative size": b"T" + struct.pack("<i", -9),
        "FRAME of an exabyte": b"\x95" + huge + b"N",
        "memo entry two billion": text("a") + b"r\xff\xff\xff\x7f",
        "memo entry that is none": b"h\x63",
        "an integer of 100 000 digits": b"I" + b"9" * 100_000 + b"\n",
        "bytearray of 64 GB": call(name("builtins", "bytearray"), number(1 << 36)),
        "a tensor of 64 GB made of nothing": call(name("torch", "Tensor"), number(1 << 34)),
        "an empty stack": b"0000",
        "no mark": b"t",
        "a mark alone": b"(",
        "an odd number of items": b"}(" + text("a") + b"u",
        "a list as a key": mapping(b"]", number(1)),
    }
    found = []
    for label, body in bodies.items():
        found += in_forms(label, program(mapping(text("model"), body), 5), "", ("zip", "pickle"))
    return found
