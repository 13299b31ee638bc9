"""What the benchmarks read from wrk and pgbench; the outputs were recorded from both."""

import pytest

from bench.load import BenchError, parse_log, parse_pgbench, parse_wrk, percentile

WRK = """\
Running 1s test @ http://127.0.0.1:48917/api/v1/reserve
  2 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.83ms    2.58ms  15.48ms   85.52%
    Req/Sec     2.47k   801.21     4.18k    71.43%
  5179 requests in 1.10s, 1.24MB read
Requests/sec:   4706.20
Transfer/sec:      1.13MB
RESULT {"seconds":1.100464,"answered":5179,"accepted":5100,"unexpected":0,"broken":0,\
"timeouts":0,"p50_ms":0.330,"p99_ms":11.081,"max_ms":15.481}
"""
UNEXPECTED = """\
Requests/sec:   5693.97
Transfer/sec:      1.37MB
RESULT {"seconds":2.099765,"answered":11956,"accepted":11956,"unexpected":11956,\
"broken":0,"timeouts":0,"p50_ms":0.380,"p99_ms":7.503,"max_ms":17.597}
UNEXPECTED 200 {"reservation_id":"100005010000000002","product_id":"10001","quantity":1}
"""
PGBENCH = """\
pgbench (15.20 (Debian 15.20-0+deb12u1))
transaction type: reserve.pgbench
scaling factor: 1
query mode: prepared
number of clients: 1
number of threads: 1
maximum number of tries: 1
duration: 2 s
number of transactions actually processed: 531
number of failed transactions: 0 (0.000%)
latency average = 3.752 ms
initial connection time = 7.623 ms
tps = 266.494825 (without initial connection time)
"""
LOG = """\
0 1 11225 0 1795266179 345589
0 2 9587 0 1795266179 355200
0 3 7158 0 1795266179 362374
0 4 8883 0 1795266179 371275
"""


def test_wrk_gives_rate_and_times() -> None:
    figures = parse_wrk(WRK, size=1)
    assert figures.rate == pytest.approx(4706.20, abs=0.01)  # as wrk itself reckons it
    assert (figures.p50_ms, figures.p99_ms, figures.max_ms) == (0.33, 11.081, 15.481)
    assert (figures.answered, figures.accepted) == (5179, 5100)


def test_a_batch_counts_its_reservations() -> None:
    assert parse_wrk(WRK, size=500).rate == pytest.approx(4706.20 * 500, abs=5)


def test_an_unexpected_answer_is_an_error_that_shows_it() -> None:
    with pytest.raises(BenchError, match=r"11956 of 11956 answers .* such as: 200 \{"):
        parse_wrk(UNEXPECTED, size=1)


@pytest.mark.parametrize("broken", ['"broken":3', '"timeouts":3', '"unexpected":3'])
def test_what_went_wrong_on_the_way_is_an_error(broken: str) -> None:
    name = broken.partition(":")[0]
    with pytest.raises(BenchError):
        parse_wrk(WRK.replace(name + ":0", broken), size=1)


def test_a_run_that_was_held_up_is_an_error() -> None:
    assert parse_wrk(WRK, size=1, longest=1.2)
    with pytest.raises(BenchError, match="held up"):
        parse_wrk(WRK, size=1, longest=1.0)


def test_no_answer_is_an_error() -> None:
    with pytest.raises(BenchError, match="nothing was answered"):
        parse_wrk(WRK.replace('"answered":5179', '"answered":0'), size=1)
    with pytest.raises(BenchError, match="no result"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n", size=1)


def test_pgbench_gives_rate_and_times() -> None:
    figures = parse_pgbench(PGBENCH, parse_log(LOG))
    assert (figures.rate, figures.answered) == (266.494825, 531)
    assert (figures.p50_ms, figures.p99_ms, figures.max_ms) == (8.883, 11.225, 11.225)


def test_a_failed_transaction_of_pgbench_is_an_error() -> None:
    failed = PGBENCH.replace("failed transactions: 0", "failed transactions: 7")
    with pytest.raises(BenchError, match="7 transactions"):
        parse_pgbench(failed, [1.0])


def test_pgbench_without_a_result_is_an_error() -> None:
    with pytest.raises(BenchError, match="no result"):
        parse_pgbench("pgbench: error: could not connect", [])


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (0.1, 1)])
def test_a_percentile_is_one_of_the_values(percent: float, value: int) -> None:
    assert percentile(list(range(1, 101)), percent) == value
    assert percentile([7.0], percent) == 7.0
