"""What a pickle would do, told from its opcodes before any of them is followed.

An unpickler that looks up no foreign name can still be told to build what ends it: tuples that double sixty
times (hashing one never returns), tuples nested 300 000 deep (hashing one crashes the interpreter), a memo
index of two billion (32 GB). So :func:`survey` follows a pickle with shadows in place of objects.
"""

from __future__ import annotations

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

MAX_TUPLE_DEPTH = 32
MAX_LEAVES = 10_000  # of a tuple, with repetition, where it has more of them than the pickle has opcodes

# Left out: INST and OBJ, the registered codes of EXT1 to EXT4, PERSID, and buffers outside the file.
# fmt: off
OPCODES = frozenset({
    "MARK", "STOP", "POP", "POP_MARK", "DUP", "PROTO", "FRAME", "NONE", "NEWTRUE", "NEWFALSE", "INT",
    "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE",
    "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_SET",
    "ADDITEMS", "FROZENSET", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX", "BINPERSID",
})
# fmt: on
TUPLES = frozenset({"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"})
IN_PLACE = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})


class RefusedError(Exception):
    """Readable, but not acceptable; the message says why."""


class Named(NamedTuple):
    """A class or function that the pickle names, as ``module.name``."""

    name: str


class Frozen(NamedTuple):
    """A tuple or frozen set."""

    parts: tuple[Any, ...]
    leaves: int  # with repetition
    depth: int


@dataclass
class Survey:
    """What a pickle would use.

    Attributes:
        names: classes and functions.
        calls: function and argument of each call; the argument is a :class:`Frozen` where it is a tuple.
        persistent: ids of data outside the pickle.
    """

    names: set[str] = field(default_factory=set)
    calls: list[tuple[Any, Any]] = field(default_factory=list)
    persistent: list[Any] = field(default_factory=list)


def survey(handle: IO[bytes], size: int) -> Survey:
    """Follow one pickle from the handle's place to its end.

    Args:
        handle: at the beginning of a pickle; afterwards behind its STOP.
        size: bytes that the handle can have; nothing longer is ever asked for.

    Raises:
        RefusedError: an opcode that no checkpoint needs, or something that would exhaust the machine.
        Exception: damaged in any other way.
    """
    return _Machine().run(_Bounded(handle, size))


class _Bounded:
    """A file from which nobody asks for more than it has."""

    def __init__(self, handle: IO[bytes], size: int) -> None:
        self.read_some, self.readline, self.tell, self.size = handle.read, handle.readline, handle.tell, size

    def read(self, count: int) -> bytes:
        if count > max(self.size, 8):  # 8: of a number, where the file ends early
            raise RefusedError(f"damaged: a part of {count} bytes is announced, the file has {self.size}")
        return self.read_some(count)


class _Machine:
    """The unpickler's stack and memo, holding numbers, text, :class:`Named`, :class:`Frozen`, else None."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.num_steps = 0
        self.found = Survey()
        self.special: dict[str, Callable[[Any], None]] = {
            "MARK": self.mark,
            "POP": self.pop,
            "POP_MARK": self.pop_mark,
            "DUP": lambda _: self.stack.append(self.stack[-1]),
            "MEMOIZE": lambda _: self.put(len(self.memo)),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda i: self.stack.append(self.memo[i])),
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self.put),
        }

    def run(self, handle: Any) -> Survey:
        for opcode, argument, _ in pickletools.genops(handle):
            self.num_steps += 1
            if opcode.name not in OPCODES:
                raise RefusedError(f"refused: the pickle has {opcode.name}, which no checkpoint has")
            if opcode.name == "FRAME" and int(argument or 0) > handle.size:
                raise RefusedError(f"damaged: a frame of {argument} bytes, the file has {handle.size}")
            if special := self.special.get(opcode.name):
                special(argument)
            else:
                self.follow(opcode, argument)
        return self.found

    def follow(self, opcode: Any, argument: Any) -> None:
        """Any opcode that takes things off the stack and puts at most one on it."""
        before = list(opcode.stack_before)
        if pickletools.markobject in before:
            taken = self.to_mark()
            num_below = before.index(pickletools.markobject)
        else:
            taken, num_below = [], len(before)
        taken = [self.stack.pop() for _ in range(num_below)][::-1] + taken
        if opcode.stack_after:
            self.stack.append(self.make(opcode.name, argument, taken))

    def make(self, name: str, argument: Any, taken: list[Any]) -> Any:
        """The shadow of what an opcode makes of its argument in the file and of what it took."""
        if name in TUPLES:
            return self.freeze(taken)
        if name in IN_PLACE:
            return taken[0]
        if name == "GLOBAL":
            return self.name(*argument.split(" ", 1))
        if name == "STACK_GLOBAL":
            if not all(isinstance(part, str) for part in taken):
                raise RefusedError("damaged: a class's name is no text")
            return self.name(*taken)
        if name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            self.found.calls.append((taken[0], taken[1]))
        if name == "BINPERSID":
            self.found.persistent.append(taken[0])
        return argument if isinstance(argument, (str, int)) else None

    def name(self, module: str, attribute: str) -> Named:
        """A name as Python 3 has it."""
        if (module, attribute) in NAME_MAPPING:
            module, attribute = NAME_MAPPING[module, attribute]
        named = Named(f"{IMPORT_MAPPING.get(module, module)}.{attribute}")
        self.found.names.add(named.name)
        return named

    def freeze(self, parts: list[Any]) -> Frozen:
        """A tuple; its parts are hashed as often as they are met, and as deep as they go."""
        inner = [part for part in parts if isinstance(part, Frozen)]
        leaves = len(parts) + sum(part.leaves for part in inner)
        depth = 1 + max((part.depth for part in inner), default=0)
        if depth > MAX_TUPLE_DEPTH:
            raise RefusedError(f"refused: tuples are nested more than {MAX_TUPLE_DEPTH} deep")
        if leaves > max(MAX_LEAVES, self.num_steps):
            raise RefusedError("refused: tuples repeat each other until they are larger than the file")
        return Frozen(tuple(parts), leaves, depth)

    def mark(self, _: Any) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[Any]:
        taken, self.stack = self.stack, self.marked.pop()
        return taken

    def pop_mark(self, _: Any) -> None:
        self.to_mark()

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.to_mark()

    def put(self, index: int) -> None:
        if index > self.num_steps:  # the unpickler makes room for all below it
            raise RefusedError(f"refused: memo entry {index} after {self.num_steps} instructions")
        self.memo[index] = self.stack[-1]
