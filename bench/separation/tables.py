"""Data sets as coded rows with classes and kinds: whatever is tabular can be a world for the scenarios.

``soc`` is generated and ships with the project; all others are files of a data folder (README.md says which). A *kind*
is a sub-family of a class (an attack's name, a service), which scenarios hold out, move or mimic; where a data set
names none, k-means clusters of each class stand in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.cluster import KMeans

from detectors.batch import Floats, Ints, Strings
from detectors.schema import Feature, Schema
from monitor.demo.flows import table as flow_table
from monitor.demo.traffic import TrafficConfig, generate
from rollback.tables.table import Table, encode, infer_schema, read_table
from separation.texts import text_features

_MOST: Final = 60_000
"""Rows drawn from larger data sets: more than any episode uses."""
_CLUSTERS: Final = 6


@dataclass(frozen=True, slots=True)
class Rows:
    """x[n, d] as a schema codes it, class y[n], kind[n]; ``benign`` is the class that an attacker wants to be in."""

    name: str
    schema: Schema
    x: Floats
    y: Ints
    kind: Strings
    benign: int

    def __len__(self) -> int:
        return len(self.y)


def load(name: str, folder: Path | None, seed: int) -> Rows:
    """The data set of this name; ``seed`` draws from (or generates) it. Raises `KeyError` for an unknown one."""
    rng = np.random.default_rng([seed, 1])
    if name == "soc":
        return _generated(rng)
    if folder is None:
        raise ValueError(f"data set {name} needs a data folder; soc is the only one that is generated")
    return _LOADERS[name](folder, rng)


def _generated(rng: np.random.Generator) -> Rows:
    flows = generate(TrafficConfig(flows_per_session=1.0), rng, 40_000, 1.7e9)
    columns = {n: c for n, c in flow_table(flows).items() if n not in {"id", "ts", "source", "session", "label"}}
    y = np.where(flows.label == "attack", 1, 0)
    return _coded("soc", columns, ("benign", "attack"), y, flows.family, 0, rng)


def _read(path: Path, rng: np.random.Generator) -> Table:
    table = read_table(path)
    rows = np.sort(rng.permutation(len(table))[:_MOST])
    return Table(table.path, {n: c[rows] for n, c in table.columns.items()}, table.line[rows])


def _flows(path: Path, rng: np.random.Generator, *, distinct: bool = False) -> tuple[dict[str, np.ndarray], Table]:
    table = _read(path, rng)
    about = {"class", "category", "difficulty", "label", "t"}
    columns = {n: c for n, c in table.columns.items() if n not in about}
    if distinct:  # 70% of the rows repeat others
        text = np.array(["|".join(map(str, row)) for row in zip(*columns.values(), strict=True)])
        keep = np.sort(np.unique(text, return_index=True)[1])
        table = Table(table.path, {n: c[keep] for n, c in table.columns.items()}, table.line[keep])
        columns = {n: c[keep] for n, c in columns.items()}
    return columns, table


def _nsl_kdd(folder: Path, rng: np.random.Generator) -> Rows:
    columns, table = _flows(folder / "nsl_kdd" / "train_36f.parquet", rng)
    y = table.floats("label").astype(np.int64)
    return _coded("nsl_kdd", columns, ("benign", "attack"), y, _services(table), 0, rng)


def _nsl_multi(folder: Path, rng: np.random.Generator) -> Rows:
    columns, table = _flows(folder / "nsl_kdd" / "train_36f.parquet", rng)
    classes = ("normal", "dos", "probe", "r2l")
    category = table.strings("category")
    known = np.isin(category, classes)
    y = np.array([classes.index(c) for c in category[known]])
    return _coded("nsl_multi", {n: c[known] for n, c in columns.items()}, classes, y, _services(table)[known], 0, rng)


def _kdd99(folder: Path, rng: np.random.Generator) -> Rows:
    columns, table = _flows(folder / "kdd99_stream" / "kdd10pct.parquet", rng, distinct=True)
    y = table.floats("label").astype(np.int64)
    return _coded("kdd99", columns, ("benign", "attack"), y, _services(table), 0, rng)


def _services(table: Table) -> Strings:
    """Attack names; normal traffic by its service, so that a benign service can be held out."""
    kind, service = table.strings("class"), table.strings("service")
    return np.where(kind == "normal", np.char.add("normal ", service.astype(np.str_)), kind)


def _phishing(folder: Path, rng: np.random.Generator) -> Rows:
    table = _read(folder / "phishing" / "phishing_uci.parquet", rng)
    columns = {n: c for n, c in table.columns.items() if n.startswith("attribute_")}
    y = 1 - table.floats("label").astype(np.int64)  # 1 is legitimate there
    return _coded("phishing", columns, ("benign", "attack"), y, None, 0, rng)


def _urls(folder: Path, rng: np.random.Generator) -> Rows:
    table = _read(folder / "phishing" / "phishing_urls.parquet", rng)
    columns = {n: c for n, c in table.columns.items() if n not in {"url", "label", "split"}}
    return _coded("urls", columns, ("benign", "attack"), table.floats("label").astype(np.int64), None, 0, rng)


def _http(folder: Path, rng: np.random.Generator) -> Rows:
    return _text("http", folder / "text_soc" / "http_params.parquet", "payload", "attack_type", rng)


def _dga(folder: Path, rng: np.random.Generator) -> Rows:
    return _text("dga", folder / "text_soc" / "dga_domains.parquet", "domain", "family", rng)


def _sms(folder: Path, rng: np.random.Generator) -> Rows:
    return _text("sms", folder / "text_soc" / "sms_spam.parquet", "text", None, rng)


def _text(name: str, path: Path, text: str, kind: str | None, rng: np.random.Generator) -> Rows:
    table = _read(path, rng)
    columns = text_features(table.strings(text))
    kinds = None if kind is None else table.strings(kind)
    return _coded(name, columns, ("benign", "attack"), table.floats("label").astype(np.int64), kinds, 0, rng)


def _elec2(folder: Path, rng: np.random.Generator) -> Rows:
    table = _read(folder / "elec2" / "elec2.parquet", rng)
    columns = {n: table.columns[n] for n in ("period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")}
    return _coded("elec2", columns, ("down", "up"), table.floats("label").astype(np.int64), None, 0, rng)


def _noaa(folder: Path, rng: np.random.Generator) -> Rows:
    table = _read(folder / "noaa_weather" / "noaa.parquet", rng)
    columns = {n: c for n, c in table.columns.items() if n not in {"label", "t"}}
    return _coded("noaa", columns, ("dry", "rain"), table.floats("label").astype(np.int64), None, 0, rng)


def _coded(
    name: str,
    columns: dict[str, np.ndarray],
    classes: tuple[str, ...],
    y: Ints,
    kind: Strings | None,
    benign: int,
    rng: np.random.Generator,
) -> Rows:
    lines = np.arange(len(y))
    made = Table(name, columns, lines)
    specs = infer_schema(made, exclude=[])
    x = encode(made, specs)
    features = tuple(Feature(s.name, s.kind, s.vocabulary) for s in specs)
    kinds = clusters(x, y, rng) if kind is None else _merged(kind, y)
    return Rows(name, Schema(features, classes), x, np.asarray(y, np.int64), kinds, benign)


def _merged(kind: Strings, y: Ints) -> Strings:
    """Kinds with less than half a percent of the rows are one kind a class: too rare to hold out or to mimic."""
    names, counts = np.unique(kind, return_counts=True)
    rare = np.isin(kind, names[counts < 0.005 * len(kind)])
    return np.where(rare, np.char.add("other ", y.astype(np.str_)), kind.astype(np.str_))


def clusters(x: Floats, y: Ints, rng: np.random.Generator) -> Strings:
    """Six k-means clusters of each class, as kinds of a table that names none."""
    kinds = np.empty(len(y), dtype="<U16")
    scale = np.maximum(np.nanstd(x, axis=0), 1e-9)
    standard = np.nan_to_num((np.arcsinh(x) - np.nanmean(np.arcsinh(x), axis=0)) / np.maximum(np.arcsinh(scale), 1e-9))
    for c in np.unique(y).tolist():
        rows = np.flatnonzero(y == c)
        k = KMeans(_CLUSTERS, n_init=2, random_state=int(rng.integers(2**31))).fit_predict(standard[rows])
        kinds[rows] = np.char.add(f"{c}-", k.astype(np.str_))
    return kinds


_LOADERS: Final[dict[str, Callable[[Path, np.random.Generator], Rows]]] = {
    "nsl_kdd": _nsl_kdd,
    "nsl_multi": _nsl_multi,
    "kdd99": _kdd99,
    "phishing": _phishing,
    "urls": _urls,
    "http": _http,
    "dga": _dga,
    "sms": _sms,
    "elec2": _elec2,
    "noaa": _noaa,
}
NAMES: Final = ("soc", *_LOADERS)
