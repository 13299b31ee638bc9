"""What was measured: medians over the rounds, a table against the bars, a file to compare with."""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.load import Figures

CPU = ("python_us", "postgres_us", "load_us")
FIGURES = ("rate", "p50_ms", "p99_ms", "max_ms", "rss_mb", *CPU, "per_commit")
PEERS = ("echo", "orm", "pgbench", "postgraphile")
PGBENCH_CLIENTS = 64
"""pgbench is asked by 64 clients, whatever the others are asked by."""

BARS: Mapping[str, Mapping[str, float]] = {
    "uniform": {"echo": 0.33, "orm": 12, "pgbench": 0.8},
    "hot": {"echo": 0.38, "orm": 25, "pgbench": 5.5},
    "sold out": {"echo": 0.38},
    "half sold out": {"echo": 0.3},
    "batch of 500": {"pgbench": 2.2},
    "hold": {"orm": 3},
    "supply and demand": {"orm": 3},
    "buy": {"orm": 3},
}
"""How many times the rate of a peer Holdfast's must be."""
BARS_OF_MANY = {"uniform": {"pgbench": 1.0}}
"""The same with more than 64 connections, where it differs."""
P99_BAR_MS = 20.0
"""At 64 connections, of WITH_P99."""
WITH_P99 = ("uniform", "hot", "sold out")
GROWTH_BAR = 0.9
IDLE_BAR_MS = 1.0
MEMORY_BAR_MB = 110.0


@dataclass
class Measurement:
    """The rounds of one system at one work."""

    work: str
    system: str
    connections: int
    rounds: list[Figures] = field(default_factory=list)

    @property
    def median(self) -> dict[str, float]:
        """The median of each figure over the rounds."""
        return medians([asdict(each) for each in self.rounds])


@dataclass(frozen=True)
class Row:
    """One line of the table; ratios and bars by peer."""

    work: str
    figures: Mapping[str, str]
    ratios: Mapping[str, float]
    bar: str
    is_met: bool | None


def medians(rounds: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The median of every figure that all rounds have."""
    known = list(rounds)
    return {
        name: round(statistics.median(each[name] for each in known), 3)
        for name in FIGURES
        if known and all(each.get(name) is not None for each in known)
    }


def as_document(
    name: str, about: Mapping[str, Any], measurements: Iterable[Measurement]
) -> dict[str, Any]:
    """What is written to the results' file."""
    return {
        "name": name,
        **about,
        "measurements": [
            {
                "work": each.work,
                "system": each.system,
                "connections": each.connections,
                "median": each.median,
                "rounds": [
                    {key: value for key, value in asdict(one).items() if value is not None}
                    for one in each.rounds
                ],
            }
            for each in measurements
        ],
    }


def table(document: Mapping[str, Any]) -> str:
    """The results as Markdown: Holdfast beside its peers, the ratios, the bars."""
    found = {
        (each["work"], each["system"], each["connections"]): each["median"]
        for each in document["measurements"]
    }
    rows = [*_rate_rows(found), *_growth_rows(found), *_idle_rows(found), *_memory_rows(document)]
    lines = [
        "| work | holdfast | " + " | ".join(PEERS) + " | ratios | bar | met? |",
        "|---" * (len(PEERS) + 5) + "|",
    ]
    for row in rows:
        ratios = ", ".join(f"{peer} {ratio:.2f}" for peer, ratio in row.ratios.items())
        met = "" if row.is_met is None else "yes" if row.is_met else "**no**"
        cells = [row.figures.get(system, "") for system in ("holdfast", *PEERS)]
        lines.append("| " + " | ".join([row.work, *cells, ratios, row.bar, met]) + " |")
    return "\n".join(lines)


def cpu_table(document: Mapping[str, Any]) -> str:
    """Time on a processor per reservation, as Markdown."""
    lines = [
        "| work | system | Python | PostgreSQL | load | reservations a commit | rate |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for each in document["measurements"]:
        median = each["median"]
        cells = [f"{each['work']}, {each['connections']} connections", each["system"]]
        cells += [f"{median[name]:.1f} µs" for name in CPU]
        cells += [f"{median['per_commit']:.1f}" if "per_commit" in median else ""]
        cells += [f"{median['rate']:,.0f}/s"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


_Found = Mapping[tuple[str, str, int], Mapping[str, float]]


def _rate_rows(found: _Found) -> Iterable[Row]:
    asked = {work for work, system, _ in found if system != "pgbench"}
    places = dict.fromkeys(
        (work, connections)
        for work, system, connections in found
        if work in BARS and (system != "pgbench" or work not in asked)
    )
    for work, connections in places:
        medians_of = {
            system: median
            for system in ("holdfast", *PEERS)
            if (median := _counterpart(found, work, system, connections))
        }
        ours = medians_of.get("holdfast")
        ratios = {
            peer: ours["rate"] / medians_of[peer]["rate"]
            for peer in PEERS
            if ours and peer in medians_of
        }
        bars = BARS[work]
        if connections > PGBENCH_CLIENTS:
            bars = {**bars, **BARS_OF_MANY.get(work, {})}
        bar = ", ".join(f"{peer} ≥ {least:g}" for peer, least in bars.items())
        met = [ratios[peer] >= least for peer, least in bars.items() if peer in ratios]
        is_whole = len(met) == len(bars)
        if connections == PGBENCH_CLIENTS and work in WITH_P99:
            bar += f", p99 ≤ {P99_BAR_MS:g} ms"
            met += [ours["p99_ms"] <= P99_BAR_MS] if ours else []
        figures = {system: _figure(median) for system, median in medians_of.items()}
        name = f"{work}, {connections} connections"
        yield Row(name, figures, ratios, bar, all(met) if is_whole else None)


def _counterpart(
    found: _Found, work: str, system: str, connections: int
) -> Mapping[str, float] | None:
    """What a system is compared by: the echo does not care for products, pgbench has one form."""
    if system == "echo":
        return found.get(("uniform", "echo", connections)) if work != "batch of 500" else None
    if system == "pgbench":
        like = "uniform" if work == "batch of 500" else work
        return found.get((like, "pgbench", PGBENCH_CLIENTS))
    return found.get((work, system, connections))


def _growth_rows(found: _Found) -> Iterable[Row]:
    empty = found.get(("0 stored", "holdfast", PGBENCH_CLIENTS))
    for (work, _system, _), median in found.items():
        if empty and work.endswith(" stored") and median is not empty:
            ratio = median["rate"] / empty["rate"]
            figures = {"holdfast": _figure(median)}
            is_met = ratio >= GROWTH_BAR
            yield Row(work, figures, {"0 stored": ratio}, f"0 stored ≥ {GROWTH_BAR}", is_met)


def _idle_rows(found: _Found) -> Iterable[Row]:
    ours, theirs = found.get(("idle", "holdfast", 1)), found.get(("idle", "pgbench", 1))
    if ours and theirs:
        figures = {"holdfast": _times(ours), "pgbench": _times(theirs)}
        above = ours["p50_ms"] - theirs["p50_ms"]
        bar = f"p50 ≤ {IDLE_BAR_MS:g} ms above pgbench's"
        yield Row(f"one client, idle ({above:+.2f} ms)", figures, {}, bar, above <= IDLE_BAR_MS)


def _memory_rows(document: Mapping[str, Any]) -> Iterable[Row]:
    peaks = [
        one["rss_mb"]
        for each in document["measurements"]
        if each["system"] == "holdfast"
        for one in each["rounds"]
        if "rss_mb" in one
    ]
    if peaks:
        figures = {"holdfast": f"{max(peaks):.0f} MiB"}
        bar = f"≤ {MEMORY_BAR_MB:g} MiB"
        yield Row("memory of an API process", figures, {}, bar, max(peaks) <= MEMORY_BAR_MB)


def _figure(median: Mapping[str, float]) -> str:
    return f"{median['rate']:,.0f}/s<br>{_times(median)}"


def _times(median: Mapping[str, float]) -> str:
    return f"p50 {median['p50_ms']:.2f} p99 {median['p99_ms']:.2f} max {median['max_ms']:.0f} ms"


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Two results as Markdown: each median before and after, and the change in percent."""
    old = {
        (each["work"], each["system"], each["connections"]): each["median"]
        for each in before["measurements"]
    }
    lines = [
        f"| work | system | connections | figure | {before['name']} | {after['name']} | change |",
        "|---|---|---:|---|---:|---:|---:|",
    ]
    for each in after["measurements"]:
        place = (each["work"], each["system"], each["connections"])
        for figure in ("rate", "p50_ms", "p99_ms", "rss_mb", *CPU):
            was, now = old.get(place, {}).get(figure), each["median"].get(figure)
            if was and now:
                change = (now / was - 1) * 100
                cells = [*map(str, place), figure, f"{was:,.2f}", f"{now:,.2f}", f"{change:+.1f} %"]
                lines.append("| " + " | ".join(cells) + " |")
    notes = [
        f"\n{what} differs: {before.get(what)} and {after.get(what)}"
        for what in ("machine", "versions", "settings")
        if before.get(what) != after.get(what)
    ]
    return "\n".join(lines) + "".join(notes)


def read(path: Path) -> dict[str, Any]:
    """A results' file."""
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a results' file, making its folder."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
