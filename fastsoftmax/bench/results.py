"""Files of results: what a document must hold, and the same with types. Measures nothing.

What is in the document stands in `results.schema.json`; here is only what a schema cannot say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA = "fastsoftmax-results"
SCHEMA_VERSION = 3
"""2 knew of no options, samples of the classes, memory or start-up; 1 of no disturbance, peers or
limits, and had no `schema`."""


PLAIN = "plain"
"""The option of a call that nothing sets apart."""


class InvalidResults(ValueError):
    """A file, or a document, that does not hold results as the schema has them."""


class Key(NamedTuple):
    """What is the same measurement in two files."""

    operation: str
    dtype: str
    shape: tuple[int, ...]
    axis: int  # counted from the last one, which is -1, however the document has it
    classes: int
    sampled: int | None
    option: str
    threads: int
    inputs: str
    contestant: str

    @property
    def case(self) -> str:
        """All but the contestant: softmax float32 32x1000 threads=1 hot."""
        sizes = "x".join(map(str, self.shape)) + ("" if self.axis == -1 else f" axis={self.axis}")
        if self.sampled is not None:
            sizes += f" sampled={self.sampled} of {self.classes}"
        option = "" if self.option == PLAIN else f" {self.option}"
        return f"{self.operation} {self.dtype} {sizes}{option} threads={self.threads} {self.inputs}"

    def __str__(self) -> str:
        """The name of the result: the case, then the contestant."""
        return f"{self.case} {self.contestant}"


class Seconds(NamedTuple):
    """Of one call: quartiles over the samples."""

    first_quartile: float
    median: float
    third_quartile: float


class Limit(NamedTuple):
    """The least seconds that the hardware allows one call, and by what."""

    seconds: float
    binds: str


class Result(NamedTuple):
    """One contestant's time in one case."""

    key: Key
    kind: str
    batch: int
    classes: int
    seconds: Seconds
    samples: int
    calls_per_sample: int
    disturbed: bool
    repeats: int
    elements: int
    bytes: int
    peak_bytes: int | None
    worst_ulp: float | None
    allowed_ulp: float | None
    limit: Limit | None


class Contestant(NamedTuple):
    """Who took part, or why not."""

    name: str
    kind: str
    version: str | None
    missing: str | None


class Startup(NamedTuple):
    """What a program pays before its first result."""

    contestant: str
    cached: bool
    import_seconds: float
    first_call_seconds: float


class Rate(NamedTuple):
    """What a loop over so many bytes moves in a second."""

    bytes: int
    bytes_per_second: float


class Limits(NamedTuple):
    """What the machine can do; empty or None where it could not be measured."""

    copy: tuple[Rate, ...]
    nt_copy: tuple[Rate, ...]
    read: tuple[Rate, ...]
    exp: dict[str, float]
    empty_call_seconds: float | None
    fork_join_seconds: float | None


class Results(NamedTuple):
    """A document; `machine` and `method` as they stand there."""

    complete: bool
    label: str | None
    created: str
    machine: dict[str, Any]
    load_average: float | None
    blas: str | None
    method: dict[str, Any]
    limits: Limits
    contestants: tuple[Contestant, ...]
    results: tuple[Result, ...]
    startup: tuple[Startup, ...]
    notes: tuple[str, ...]


def load(path: Path) -> Results:
    """Read a file of results.

    Parameters
    ----------
    path : Path
        What `fastsoftmax bench --json` has written.

    Returns
    -------
    Results

    Raises
    ------
    InvalidResults
        If it cannot be read, is no JSON, of another version, or breaks the schema. The message
        names the file and the place in it.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise InvalidResults(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # ValueError: bad UTF-8 too
        raise InvalidResults(f"{path} is not JSON: {error}") from None
    try:
        return parse(document)
    except InvalidResults as error:
        raise InvalidResults(f"{path}: {error}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number there")


def parse(document: Any) -> Results:
    """Check a document and give it types.

    Parameters
    ----------
    document : dict
        As `json.loads` makes it.

    Returns
    -------
    Results

    Raises
    ------
    InvalidResults
        As `check` does.
    """
    check(document)
    limits = document["limits"]
    return Results(
        complete=document["complete"],
        label=document["label"],
        created=document["created"],
        machine=document["machine"],
        load_average=document["load_average"],
        blas=document["blas"],
        method=document["method"],
        limits=Limits(**limits | {n: _rates(limits[n]) for n in ("copy", "nt_copy", "read")}),
        contestants=tuple(Contestant(**entry) for entry in document["contestants"]),
        results=tuple(_result(entry) for entry in document["results"]),
        startup=tuple(Startup(**entry) for entry in document["startup"]),
        notes=tuple(document["notes"]),
    )


def _rates(entries: list[dict[str, Any]]) -> tuple[Rate, ...]:
    return tuple(Rate(**entry) for entry in entries)


def _key(entry: dict[str, Any]) -> Key:
    shape, axis = tuple(entry["shape"]), entry["axis"]
    given = {name: entry[name] for name in Key._fields}
    return Key(**given | {"shape": shape, "axis": axis - len(shape) if axis >= 0 else axis})


def _result(entry: dict[str, Any]) -> Result:
    alike = set(entry) & set(Result._fields)
    given = {name: entry[name] for name in alike} | {
        "key": _key(entry),
        "seconds": Seconds(**entry["seconds"]),
        "worst_ulp": entry["ulp"]["worst"],
        "allowed_ulp": entry["ulp"]["allowed"],
        "limit": None if entry["limit"] is None else Limit(**entry["limit"]),
    }
    return Result(**given)


def check(document: Any) -> None:
    """Refuse what is not a document of this version, or breaks its schema.

    Parameters
    ----------
    document : dict
        In plain types: lists, not tuples.

    Raises
    ------
    InvalidResults
        With the place of the first mistake, such as ``results[3].seconds``, and how many more
        there are. Also if the package jsonschema is missing.
    """
    _check_version(document)
    mistakes = _by_schema(document) or list(_by_sense(document))
    if mistakes:
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        raise InvalidResults(mistakes[0] + more)


def _check_version(document: Any) -> None:
    # First and by itself: of another version nothing else can be expected to fit.
    found = document if isinstance(document, dict) else {}
    schema, version = found.get("schema"), found.get("schema_version")
    if isinstance(version, int) and version < SCHEMA_VERSION and schema in (SCHEMA, None):
        raise InvalidResults(
            f"schema_version {version} is no longer read, {SCHEMA_VERSION} is: measure again"
        )
    if schema != SCHEMA:
        raise InvalidResults(f"not results of fastsoftmax bench: schema is not {SCHEMA!r}")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InvalidResults(
            f"schema_version {version} is of a newer fastsoftmax, {SCHEMA_VERSION} is read here"
        )


def require() -> None:
    """Refuse to go on where a document could not be checked in the end.

    Raises
    ------
    InvalidResults
        If the package jsonschema is missing.
    """
    try:
        import jsonschema  # noqa: F401
    except ImportError:
        raise InvalidResults(
            "files of results are checked by jsonschema: pip install 'fastsoftmax[bench]'"
        ) from None


def _by_schema(document: Any) -> list[str]:
    require()
    from jsonschema import Draft202012Validator

    text = files("fastsoftmax.bench").joinpath("results.schema.json").read_text(encoding="utf-8")
    errors = Draft202012Validator(json.loads(text)).iter_errors(document)
    # jsonschema tells of each missing field by itself; here they are one mistake.
    return list(dict.fromkeys(map(_said, errors)))


_BREACHES: dict[str, Callable[[Any], str]] = {
    "type": lambda names: f"not {names if isinstance(names, str) else ' or '.join(names)}",
    "const": lambda value: f"not {json.dumps(value)}",
    "enum": lambda values: f"not {' or '.join(map(json.dumps, values))}",
    "minimum": lambda least: f"less than {least}",
    "exclusiveMinimum": lambda least: f"not above {least}",
    "maximum": lambda most: f"more than {most}",
    "minLength": lambda _: "too short",
    "minItems": lambda _: "too short",
    "pattern": lambda _: "not a time in ISO 8601 with its zone",
}
"""The rules of the schema that concern a value, in words."""


def _said(error: Any) -> str:
    """One breach of the schema: the place, then what is wrong there."""
    place = error.json_path.removeprefix("$").removeprefix(".") or "the document"
    if error.validator == "required":
        lacking = [name for name in error.validator_value if name not in error.instance]
        return f"{place} lacks {', '.join(map(repr, lacking))}"
    if error.validator == "additionalProperties":
        unknown = sorted(set(error.instance) - set(error.schema["properties"]))
        return f"{place} has {', '.join(map(repr, unknown))}, which is no field"
    shown = json.dumps(error.instance)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"{place} is {shown}, {_BREACHES[error.validator](error.validator_value)}"


def _by_sense(document: dict[str, Any]) -> Iterable[str]:
    """What no schema says: order, keys that occur once, names that are known."""
    known = {entry["name"] for entry in document["contestants"]}
    first: dict[Key, int] = {}
    for i, entry in enumerate(document["results"]):
        place = f"results[{i}]"
        seconds = Seconds(**entry["seconds"])
        if tuple(seconds) != tuple(sorted(seconds)):
            yield f"{place}.seconds has quartiles out of order"
        if not -len(entry["shape"]) <= entry["axis"] < len(entry["shape"]):
            yield f"{place}.axis is {entry['axis']}, outside of shape {entry['shape']}"
        if entry["contestant"] not in known:
            yield f"{place}.contestant is {entry['contestant']!r}, not one of contestants"
        if (other := first.setdefault(_key(entry), i)) != i:
            yield f"{place} measures the same as results[{other}]"
