"""What a program does that XLA has compiled for a GPU, read from what the compiler leaves
behind: the optimised HLO, the sequence of thunks (what is launched, in order), the PTX.

The body of a loop counts as often as it runs; of a loop whose length is not known, and of
each branch of a conditional, once. All of it is computed: no GPU has run anything.
"""

import re
from collections import Counter
from collections.abc import Iterable

import jax
from jaxlib import _hlo, _jax

_THUNK = re.compile(r"^( *)\d+: (k\w+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_MODEL = re.compile(r'"reification_cost":\[\{[^}]*?"exec_time_us":([\d.e+-]+)')
_COLLECTIVE = re.compile(
    r" = (\(?[\w\[\],{}() ]*?) "
    r"(all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"(?:-start)?\("
)
_LOOP = re.compile(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
# A product, of its own or a library's, and its first factor.
_PRODUCT = re.compile(
    r" (?:dot|convolution|custom-call(?=.*__(?:cublas|cudnn\$conv)))\(%?([\w.\-]+)"
)
_ATOMIC = re.compile(r"\b(?:red|atom)\.\S*?global\S*")
_BYTES = {"f64": 8, "s64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}


def launches(thunks: str, trips: Iterable[int | None]) -> Counter:
    """Launches by kind, of a thunk sequence whose loops in order run `trips` times."""
    trips = iter(trips)
    total, inside = Counter(), []  # (indent, times) of what is around
    for line in thunks.splitlines():
        if not (found := _THUNK.match(line)):
            continue
        indent, kind = len(found[1]), found[2]
        inside = [(at, times) for at, times in inside if at < indent]
        times = inside[-1][1] if inside else 1
        if kind == "kWhile":
            inside.append((indent, times * (next(trips) or 1)))
        elif kind == "kConditional":
            inside.append((indent, times))
        else:
            total[kind] += times
    return total


class Module:
    """A module's optimised HLO, by its computations."""

    def __init__(self, text: str):
        # Where it says how the entry lies in memory, no other may be the entry.
        self._text = re.sub(r"(?m)^(HloModule [\w.\-]+).*$", r"\1", text, count=1)
        self.computations: dict[str, list[str]] = {}
        for line in self._text.splitlines():
            if head := re.match(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
                lines = self.computations[head[2]] = []
                self.entry = head[2] if head[1] else getattr(self, "entry", None)
            elif line.startswith("  ") and self.computations:
                lines.append(line)
        self._once = {}

    def loops(self, name: str | None = None):
        """(trips or None, condition, body) of a computation's own loops."""
        for line in self.computations[name or self.entry]:
            if found := _LOOP.search(line):
                known = _TRIPS.search(line)
                yield known and int(known[1]), found[1], found[2]

    def trips(self, name: str | None = None) -> list[int | None]:
        """How often loops run, each followed by those inside of it."""
        made = []
        for trips, _, body in self.loops(name):
            made += [trips, *self.trips(body)]
        return made

    def times(self) -> dict[str, int]:
        """How often each computation of the schedule runs, the entry once."""
        counts, waiting = Counter(), [(self.entry, 1)]
        while waiting:
            name, times = waiting.pop()
            counts[name] += times
            for trips, _, body in self.loops(name):
                waiting.append((body, times * (trips or 1)))
            for line in self.computations[name]:
                if " conditional(" in line:
                    found = re.search(
                        r"branch_computations=\{([^}]*)\}|"
                        r"true_computation=(\S+), false_computation=([^\s,]+)",
                        line,
                    )
                    names = re.findall(
                        r"[\w.\-]+", " ".join(filter(None, found.groups()))
                    )
                    waiting += [(name, times) for name in names]
        return dict(counts)

    def cost(self, name: str | None = None) -> Counter:
        """{"flops", "bytes"} by XLA's count, which knows no library's convolutions."""
        name = name or self.entry
        total = Counter(self._counted(name))
        for trips, _, body in self.loops(name):
            inner, once = self.cost(body), self._counted(body)
            for what in ("flops", "bytes"):
                total[what] += (trips or 1) * inner[what] - once[what]
        return total

    def _counted(self, name: str) -> dict[str, float]:
        if name not in self._once:
            text = re.sub(r"(?m)^ENTRY ", "", self._text)
            text = re.sub(rf"(?m)^(%?{re.escape(name)} \()", r"ENTRY \1", text)
            module = _hlo.hlo_module_from_text(text)
            client = jax.devices("cpu")[0].client
            found = _jax.hlo_module_cost_analysis(client, module)
            self._once[name] = {
                "flops": found["flops"],
                "bytes": found["bytes accessed"],
            }
        return self._once[name]

    def model_us(self) -> float:
        """Microseconds by XLA's own model of the card (without convolutions)."""
        return sum(
            times * sum(float(cost) for cost in _MODEL.findall("\n".join(lines)))
            for name, times in self.times().items()
            if (lines := self.computations[name])
        )

    def conditionals(self) -> int:
        """Branches that wait for the host to read what the device has found."""
        return self._count(" conditional(")

    def host_reads(self) -> int:
        """Conditionals, and loops whose length the device has to say, round by round."""
        names = self.times()
        open_loops = sum(not trips for name in names for trips, *_ in self.loops(name))
        return self.conditionals() + open_loops

    def _count(self, what: str) -> int:
        times = self.times()
        return sum(
            times[n] for n in times for line in self.computations[n] if what in line
        )

    def collectives(self) -> dict[str, list[int]]:
        """{kind: bytes of each} that devices send each other."""
        made: dict[str, list[int]] = {}
        for name, times in self.times().items():
            for line in self.computations[name]:
                if found := _COLLECTIVE.search(line):
                    shapes = re.findall(r"(\w+)\[([\d,]*)\]", found[1])
                    size = sum(_size(*shape) for shape in shapes)
                    made.setdefault(found[2], []).extend([size] * times)
        return made

    def products(self) -> list[tuple[str, str]]:
        """(precision, where in the program) of every product of matrices."""
        made = []
        for lines in self.computations.values():
            kinds = dict(filter(None, map(_made, lines)))
            for line in lines:
                if found := _PRODUCT.search(line):
                    kind = kinds.get(found[1], "f32")
                    made.append((_precision(line, kind), _place(line)))
        return made


def scatters(ptx: Iterable[str]) -> Counter:
    """Kernels that add to random rows, by how: "compare-and-swap" (slow), "vector" or
    "single" (what the card does by itself)."""
    made = Counter()
    for text in ptx:
        for kernel in re.split(r"\.entry ", text)[1:]:
            told = " ".join(_ATOMIC.findall(kernel))
            if "cas" in told:
                made["compare-and-swap"] += 1
            elif re.search(r"\.v\d", told):
                made["vector"] += 1
            elif told:
                made["single"] += 1
    return made


def _size(kind: str, shape: str) -> int:
    size = _BYTES.get(kind, 1)
    for side in filter(None, shape.split(",")):
        size *= int(side)
    return size


def _precision(line: str, kind: str) -> str:
    """How precise a product's factors of such numbers are."""
    if kind != "f32":
        return kind
    found = re.search(r'operand_precision(?:=\{|":\[)"?(\w+)', line)
    algorithm = re.search(r'algorithm[=":]+(?:dot_|ALG_DOT_)?(\w+)', line)
    exact = found and found[1].lower() == "highest"
    if algorithm and algorithm[1].lower().startswith("f32_f32_f32"):
        exact = True
    return "f32" if exact else "tf32"


def _made(line: str) -> tuple[str, str] | None:
    """(name, kind of numbers) of what a line makes."""
    found = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = \(?(\w+)\[", line)
    return found and (found[1], found[2])


def _place(line: str) -> str:
    found = re.search(r'op_name="([^"]*)"', line)
    return found[1] if found else "?"
