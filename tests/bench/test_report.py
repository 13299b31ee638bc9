"""Medians, the table against the bars, the file, and two files compared."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import report
from bench.load import Figures
from bench.report import Measurement

ROUND = Figures(rate=20_000, p50_ms=3, p99_ms=9, max_ms=20, answered=1, rss_mb=80)
ABOUT = {"machine": {"cores": 2}, "versions": {"python": "3.11.7"}, "settings": {"rounds": 3}}


def measured(work: str, system: str, connections: int, *rates: float, **others: Any) -> Measurement:
    rounds = [replace(ROUND, rate=rate, **others) for rate in rates]
    return Measurement(work, system, connections, rounds)


def document(*measurements: Measurement, name: str = "test") -> dict[str, Any]:
    written = json.dumps(report.as_document(name, ABOUT, measurements))
    read: dict[str, Any] = json.loads(written)
    return read


def rows(*measurements: Measurement) -> dict[str, list[str]]:
    """Cells of the table's lines, by work."""
    lines = report.table(document(*measurements)).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {each[0]: each[1:] for each in cells}


def test_the_median_of_each_figure_counts() -> None:
    median = measured("hot", "orm", 64, 300, 100, 900).median
    assert median == {"rate": 300, "p50_ms": 3, "p99_ms": 9, "max_ms": 20, "rss_mb": 80}


def test_a_figure_that_a_round_lacks_has_no_median() -> None:
    assert "rss_mb" not in measured("hot", "pgbench", 64, 1, 2, rss_mb=None).median


def test_a_bar_is_met_when_every_ratio_reaches_it() -> None:
    peers = [measured("uniform", "echo", 64, 50_000), measured("uniform", "orm", 64, 1_000)]
    peers += [measured("uniform", "pgbench", 64, 25_000)]
    met = rows(measured("uniform", "holdfast", 64, 20_000), *peers)["uniform, 64 connections"]
    assert met[-3:-1] == [
        "echo 0.40, orm 20.00, pgbench 0.80",
        "echo ≥ 0.33, orm ≥ 12, pgbench ≥ 0.8, p99 ≤ 20 ms",
    ]
    assert met[-1] == "yes"
    slower = rows(measured("uniform", "holdfast", 64, 19_999), *peers)
    assert slower["uniform, 64 connections"][-1] == "**no**"


def test_a_bar_may_be_higher_with_many_connections() -> None:
    peers = [measured("uniform", name, 256, 1_000) for name in ("echo", "orm")]
    peers += [measured("uniform", "pgbench", 64, 25_000)]
    found = rows(measured("uniform", "holdfast", 256, 20_000), *peers)
    assert found["uniform, 256 connections"][-2:] == [
        "echo ≥ 0.33, orm ≥ 12, pgbench ≥ 1",
        "**no**",
    ]


def test_slow_answers_miss_the_bar_at_any_rate() -> None:
    ours = measured("sold out", "holdfast", 64, 20_000, p99_ms=21)
    echo = measured("uniform", "echo", 64, 20_000)
    assert rows(ours, echo)["sold out, 64 connections"][-1] == "**no**"


def test_a_bar_is_not_judged_without_its_peers() -> None:
    alone = rows(measured("hot", "holdfast", 64, 20_000))["hot, 64 connections"]
    assert alone[-1] == ""


def test_echo_and_pgbench_stand_in_for_what_they_do_not_tell_apart() -> None:
    found = rows(
        measured("uniform", "echo", 256, 30_000),
        measured("uniform", "pgbench", 64, 10_000),
        measured("hot", "pgbench", 64, 1_000),
        measured("hot", "holdfast", 256, 15_000),
        measured("batch of 500", "holdfast", 8, 25_000),
    )
    assert found["hot, 256 connections"][-3] == "echo 0.50, pgbench 15.00"
    assert found["batch of 500, 8 connections"][-3:] == ["pgbench 2.50", "pgbench ≥ 2.2", "yes"]


def test_a_peer_alone_has_its_table() -> None:
    assert list(rows(measured("uniform", "pgbench", 64, 1), measured("hot", "pgbench", 64, 1))) == [
        "uniform, 64 connections",
        "hot, 64 connections",
    ]


def test_growth_is_compared_with_empty() -> None:
    found = rows(
        measured("0 stored", "holdfast", 64, 10_000),
        measured("1,000,000 stored", "holdfast", 64, 9_000),
        measured("10,000,000 stored", "holdfast", 64, 8_999),
    )
    assert [found[work][-1] for work in ("1,000,000 stored", "10,000,000 stored")] == [
        "yes",
        "**no**",
    ]


def test_idle_is_the_difference_of_medians() -> None:
    pgbench = measured("idle", "pgbench", 1, 1_000, p50_ms=0.5)
    assert (
        rows(measured("idle", "holdfast", 1, 700, p50_ms=1.5), pgbench)[
            "one client, idle (+1.00 ms)"
        ][-1]
        == "yes"
    )
    assert (
        rows(measured("idle", "holdfast", 1, 700, p50_ms=1.6), pgbench)[
            "one client, idle (+1.10 ms)"
        ][-1]
        == "**no**"
    )


def test_memory_is_the_most_of_all_rounds() -> None:
    found = rows(
        measured("hot", "holdfast", 64, 1, 1), measured("hot", "holdfast", 256, 1, rss_mb=120.4)
    )
    assert found["memory of an API process"][0] == "120 MiB"
    assert found["memory of an API process"][-1] == "**no**"


def test_cpu_is_told_per_reservation() -> None:
    spent = {"python_us": 80.04, "postgres_us": 60, "load_us": 12, "per_commit": 31}
    table = report.cpu_table(document(measured("hot", "holdfast", 64, 10_000, **spent)))
    line = "| hot, 64 connections | holdfast | 80.0 µs | 60.0 µs | 12.0 µs | 31.0 | 10,000/s |"
    assert table.splitlines()[2:] == [line]


def test_two_results_are_compared_figure_by_figure() -> None:
    before = document(measured("hot", "holdfast", 64, 10_000), name="before")
    after = document(
        measured("hot", "holdfast", 64, 12_500), measured("new", "holdfast", 64, 1), name="after"
    )
    lines = report.compare(before, after).splitlines()
    assert "| hot | holdfast | 64 | rate | 10,000.00 | 12,500.00 | +25.0 % |" in lines
    assert not any("new" in line for line in lines)
    assert not any("differs" in line for line in lines)


def test_a_comparison_says_that_it_is_none() -> None:
    before = document(measured("hot", "holdfast", 64, 1))
    after = before | {"machine": {"cores": 64}}
    assert "machine differs: {'cores': 2} and {'cores': 64}" in report.compare(before, after)


def test_results_are_written_and_read_again(tmp_path: Path) -> None:
    results = document(measured("hot", "holdfast", 64, 1))
    report.write(tmp_path / "results" / "hot.json", results)
    assert report.read(tmp_path / "results" / "hot.json") == results
