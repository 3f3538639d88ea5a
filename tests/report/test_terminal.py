"""The terminal section: what a person reads when nothing else is open."""

import math

import pytest

from pytest_supervm.model import ChangePoint, Changes, Metric, Sighting, Verdict
from pytest_supervm.report.terminal import Line, lines

from . import situations
from .situations import LATENCY, THROUGHPUT, judged, results, row


def texts(shown, **options):
    return [line.text for line in lines(shown, **{"verbose": False, **options})]


def test_a_block_is_said_in_eighty_columns_with_its_reasons():
    assert list(lines(situations.blocking(), verbose=False)) == [
        Line("tests/test_transfer.py::test_transfer[4]", "bold"),
        Line("  throughput   1.24 M -> 980 k tx/s  -21.0 %  [-23.3, -18.6]  regressed BLOCKS", "bad"),
        Line("    The interval excludes no change, and the estimate is beyond the threshold of"),
        Line("    15 % that blocks."),
        Line("  latency_p99  81.3 -> 84.0 us        +3.3 %  [-5.6, +13.1]   inconclusive", "warn"),
        Line("    The interval holds both no change and the threshold: more runs decide."),
        Line(
            "supervm gate: BLOCK - 2 pairs judged together at level 0.01 against main (10 kept runs of this machine): "
            "1 pair regressed beyond the threshold that blocks",
            "bad",
        ),
    ]


def test_a_pass_has_no_reasons():
    assert texts(situations.passing()) == [
        "tests/test_transfer.py::test_transfer[4]",
        "  throughput   1.24 -> 1.23 M tx/s  -0.8 %  [-1.8, +0.2]  equivalent",
        "  latency_p99  81.3 -> 79.1 us      -2.7 %  [-6.5, +1.3]  improved",
        "supervm gate: PASS - 2 pairs judged together at level 0.01 against main (10 kept runs of this machine): "
        "nothing got worse",
    ]


def test_without_a_baseline_every_figure_stands_alone():
    assert texts(situations.without_baseline()) == [
        "tests/test_transfer.py::test_transfer[4]",
        "  throughput   1.24 M tx/s",
        "  latency_p99  81.3 us",
        "supervm gate: PASS - no baseline was named, so nothing was compared",
    ]


def test_a_missing_case_is_named_with_its_reason():
    shown = texts(situations.missing())
    assert shown[0] == "tests/test_transfer.py::test_gone"
    assert shown[1].split() == ["missing", "BLOCKS"]
    assert shown[2] == "    main holds this case and the run that should hold it does not."


def test_an_unmeasured_figure_says_why_only_where_something_was_asked_of_it():
    assert texts(situations.unmeasured())[:-1] == [
        "tests/test_transfer.py::test_transfer[4]",
        "  latency_p99        unmeasured warns",
        "    Only 200 of 1000 samples: raise --supervm-samples.",
        "1 figure without a policy; -v shows them",
    ]
    assert any(line.split() == ["cycles", "unmeasured"] for line in texts(situations.unmeasured(), verbose=True))


def test_what_is_left_out_or_damaged_is_counted_and_named_when_asked():
    assert texts(situations.partial())[2:] == [
        "2 cases of the baseline not selected in this run; -v names them",
        "damaged: baselines/main.jsonl:3: it is cut off; the line was skipped and is kept",
        "as it is",
        "note: The working tree has uncommitted changes.",
        "supervm gate: PASS - 1 pair judged at level 0.01 against main (10 kept runs, 7 of this machine): nothing got "
        "worse",
    ]
    assert texts(situations.partial(), verbose=True)[2:5] == [
        "2 cases of the baseline not selected in this run",
        "  tests/test_a.py::test_left",
        "  tests/test_a.py::test_out",
    ]


def test_a_wide_section_gives_metrics_their_own_line_and_cuts_nothing():
    wide = results(
        judged(Metric("write_amplification_factor", "ratio", "lower"), 1.1, 1.2, 0.01, Verdict.REGRESSED),
        judged(THROUGHPUT, 1.24e6, 980e3, 0.2, Verdict.INCONCLUSIVE),
    )
    shown = texts(wide)
    assert shown[1] == "  write_amplification_factor"
    assert shown[2].split() == ["1.10", "->", "1.20", "+9.1", "%", "[+8.0,", "+10.2]", "regressed"]
    assert shown[2].index("regressed") == shown[4].index("inconclusive")
    assert all(len(line) <= 80 for line in shown[:-1])


@pytest.mark.parametrize(
    ("metric", "effect", "interval", "said"),
    [
        (LATENCY, 0.0, (-0.01, 0.01), "+0.0 %  [-1.0, +1.0]"),
        (THROUGHPUT, 0.0, (-0.01, 0.01), "+0.0 %  [-1.0, +1.0]"),
        (LATENCY, math.log(200), (5.2, 5.4), "x200  [x181, x221]"),
        (LATENCY, 1.0, (-900.0, 900.0), "+171.8 %  [-100.0, >x1000]"),
        (THROUGHPUT, 1.0, (-math.inf, math.inf), "-63.2 %  [-100.0, >x1000]"),
    ],
)
def test_a_change_is_said_in_its_natural_direction_however_large(metric, effect, interval, said):
    huge = row(metric, effect=effect, interval=interval, baseline=1.0, candidate=1.0, threshold=0.05)
    assert said in texts(results(huge))[1]


def test_names_cannot_command_the_terminal():
    for line in lines(situations.hostile(), verbose=True):
        assert line.text.isascii()
        assert line.text.isprintable()


def test_rows_of_one_case_stand_together_even_where_another_is_worse():
    first, second = "a.py::test_a", "b.py::test_b"
    mixed = results(
        judged(THROUGHPUT, 1.0, 0.5, 0.01, Verdict.REGRESSED, id=first),
        judged(THROUGHPUT, 1.0, 0.9, 0.01, Verdict.REGRESSED, id=second),
        judged(LATENCY, 1.0, 1.0, 0.01, Verdict.EQUIVALENT, id=first),
    )
    assert [line.split()[0] for line in texts(mixed)[:-1]] == [first, "throughput", "latency_p99", second, "throughput"]


def test_a_limit_that_holds_is_no_open_question():
    alone = row(
        threshold=None, limit=2e6, candidate=1e6, verdict=Verdict.INCONCLUSIVE, reason="within its limit", action=None
    )
    text = "\n".join(line.text for line in lines(results(alone), verbose=False))
    assert "within limit" in text
    assert "inconclusive" not in text


def test_what_the_gate_can_tell_stands_before_its_verdict():
    assert texts(situations.checked())[3:-1] == [
        "self-check: 8 gates of this suite against itself in 291 s; a budget of 60 s",
        "allows 24 launch pairs",
        "  metric       false alarms         spread  tells  extra work",
        "tests/test_transfer.py::test_transfer[4]",
        "  throughput   0 of 8, 0-36.9 %     0.81 %  2.1 %  2.3 % told",
        "  latency_p99  0 of 8, 0-36.9 %    40.00 %  -      -",
        "tests/test_transfer.py::test_mint",
        "  throughput   1 of 7, 0.4-57.9 %   1.20 %  3.4 %  4.0 % MISSED",
        "  1 gate of unchanged code called something improved",
        "  no extra work in tests/test_transfer.py::test_transfer[4] (latency_p99): extra",
        "  calls in a block do not show in this metric",
        "  tests/test_transfer.py::test_mint was not checked to the end: its test failed",
        "self-check: a slowdown of a single case is told in 95 of 100 gates from 3.4 % in",
        "throughput on, but in 1 of 3 pairs even twice the work may be missed; 1 of 8",
        "gates of unchanged code raised an alarm, so between 0.3 and 52.7 % of all do",
    ]


def test_a_check_that_judged_nothing_is_worth_nothing():
    text = " ".join(texts(situations.checked(cases=())))
    assert "nothing was judged, so 'no regression' means nothing here" in text


def test_only_recent_change_points_are_told_and_the_worst_of_them_first():
    assert said() == []
    assert said(at(age=11, effect=0.5)) == []
    shown = said(at(age=5, effect=-0.4), at(age=4, effect=0.1, remark="both are of the same commit"), at(age=30))
    assert " ".join(shown) == (
        "history: test_x.py::test_y: the latency_p99 of the kept runs changed by +10.5 % (worse) 4 runs ago, "
        "in 1a2b3c4..5d6e7f8, between 2026-01-31 12:00 and 2026-02-01 12:00 (p = 0.0004); both are of the same commit; "
        "and 1 other change in the report"
    )


def test_a_change_without_commits_is_told_by_its_time():
    assert " ".join(said(at(age=3, commits=None))).endswith(
        "3 runs ago, between 2026-01-31 12:00 and 2026-02-01 12:00 (p = 0.0004)"
    )


def at(**fields):
    return ChangePoint(
        **{
            "id": "test_x.py::test_y",
            "metric": "latency_p99",
            "unit": "s",
            "better": "lower",
            "index": 12,
            "age": 1,
            "effect": 0.1,
            "p_value": 0.0004,
            "before": 1.0,
            "after": 1.1,
            "runs": (12, 5),
            "last": Sighting("a", "2026-01-31T12:00:00+00:00"),
            "first": Sighting("b", "2026-02-01T12:00:00+00:00"),
            "commits": "1a2b3c4..5d6e7f8",
            **fields,
        }
    )


def said(*points):
    """Return the words that the section has more than without change points."""
    found = Changes(series=9, short=0, zero=0, fewest=12, share=0.05, points=points)
    plain, shown = (" ".join(texts(results(changes=changes))).split(" ") for changes in (None, found))
    return shown[: len(shown) - len(plain)]
