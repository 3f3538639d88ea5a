"""The HTML page: read as a browser would read it, so that what is inert here is inert there."""

import json
import math
import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from pytest_supervm.model import Action, ChangePoint, Changes, History, Series, Sighting, Verdict
from pytest_supervm.report.charts import band, charts
from pytest_supervm.report.html import anchor, embedded, forest, render

from . import situations
from .situations import ELSEWHERE, LATENCY, THROUGHPUT, case, judged, results, row, run, series

VOID = {"meta", "input", "br", "wbr", "rect", "line", "path", "img", "link"}


class Page(HTMLParser):
    """Elements with their attributes, text by element, and whether every element was closed in its order."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.scripts, self.visible = [], [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append([dict(attributes), ""])

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1][1] += data
        elif "style" not in self.open:
            self.visible.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.visible).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self):
        return [json.loads(text) for attributes, text in self.scripts if attributes.get("type") == "application/json"]


SITUATIONS = ["passing", "blocking", "missing", "without_baseline", "unmeasured", "partial", "hostile"]


@pytest.fixture(params=SITUATIONS)
def page(request):
    shown = getattr(situations, request.param)()
    return Page(render(shown, situations.history(shown, 12, elsewhere=(3, 7))))


def test_a_page_refers_to_nothing_outside_itself(page):
    assert page.open == []
    for _, attributes in page.elements:
        assert not {"src", "srcset", "action", "data", "poster", "background", "ping"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert not page.all("link")
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_its_own_styles_and_script_fetch_nothing():
    source = render(situations.passing(), None)
    own = source.replace(
        next(text for attributes, text in Page(source).scripts if attributes.get("id") == "plotly"), ""
    )
    assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttpRequest|import\(", own)


def test_every_link_and_label_finds_its_target(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"][1:] for attributes in page.all("a")}
    labels = {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert targets | labels <= set(ids)
    assert targets


def test_hostile_names_are_text_and_nothing_else():
    shown = situations.hostile()
    calm, hostile = (Page(render(one, situations.history(one, 3))) for one in (situations.blocking(), shown))
    assert [kind.get("type") for kind, _ in hostile.scripts].count(None) == 1  # the page's own
    assert {tag for tag, _ in hostile.elements} <= {tag for tag, _ in calm.elements} | {"ul", "li"}
    assert "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}" in hostile.text
    assert "49" not in hostile.text
    assert any(chart.get("unit", "").startswith("</script>") for chart in hostile.data if isinstance(chart, dict))


def test_embedded_data_cannot_leave_its_script():
    evil = "</script><!--<script>&\u2028\u2029"
    text = str(embedded([evil]))
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == [evil]


def test_the_first_screen_answers_pass_or_not_what_by_how_much_how_sure():
    text = Page(render(situations.blocking(), None)).text
    start = text[: text.index("This run")]
    for part in (
        "The gate blocks",
        "1 pair regressed beyond the threshold that blocks",
        "2 pairs judged together at level 0.01 against main (10 kept runs of this machine)",
        "regressed blocks",
        "-21.0 %",
        "[-23.3, -18.6]",
    ):
        assert part in start


def test_what_explains_the_figures_is_on_the_page():
    text = Page(render(situations.partial(), None)).text
    for part in (
        "Damaged line baselines/main.jsonl:3: it is cut off",
        "The working tree has uncommitted changes.",
        "2 cases of the baseline not selected",
        "Fast CPU",
        "10 kept runs, 7 of this machine",
        "calls per block 128",
        "Parameter shards 4",
        "1.22 M tx/s, 1.22 M tx/s, 1.23 M tx/s, 1.24 M tx/s, 1.24 M tx/s",
    ):
        assert part in text


def test_a_dirty_checkout_is_marked():
    shown = situations.hostile()
    assert "</scrip+changes" in Page(render(shown, None)).text


def test_the_table_keeps_the_order_of_the_rows():
    shown = situations.large(30)
    page = Page(render(shown, None))
    links = [attributes["href"] for attributes in page.all("a")]
    assert links[:30] == [f"#{anchor(one.id)}" for one in shown.cases]


def test_anchors_are_readable_stable_and_distinct():
    assert anchor("tests/test_a.py::test_b[1]").startswith("case-tests-test-a-py-test-b-1-")
    assert anchor("x[a b]") != anchor("x[a-b]")
    assert anchor("x") == "case-x-2d711642"
    assert len(anchor("x" * 500)) < 80


def test_two_hundred_cases_of_two_hundred_runs_make_a_page_of_bounded_size():
    shown = situations.large()
    source = render(shown, situations.history(shown, 200))
    assert len(source) < 12e6  # of which Plotly is 4.8e6
    assert source.count('class="plot"') == 200
    assert source.count("<tr") < 200 * 20  # the text alternatives are small whatever the history's length


@pytest.mark.parametrize(("metric", "baseline", "candidate"), [(LATENCY, 0.100, 0.110), (THROUGHPUT, 1000.0, 1150.0)])
def test_the_band_is_where_this_run_was_expected(metric, baseline, candidate):
    """Worked out by ratios rather than by logarithms: between the interval's ends the change is at most a factor."""
    shown = judged(metric, baseline, candidate, 0.05, Verdict.INCONCLUSIVE)
    low, high = band(shown)
    factor = math.exp(0.05)
    assert low == pytest.approx(baseline / factor)
    assert high == pytest.approx(baseline * factor)


@pytest.mark.parametrize("metric", [LATENCY, THROUGHPUT])
def test_a_lopsided_interval_turns_round_in_its_band(metric):
    """From 2 % better to 10 % worse; so, unchanged, up to 10 % better or 2 % worse than it is."""
    shown = row(metric, baseline=100.0, candidate=100.0, effect=0.03, interval=(math.log(0.98), math.log(1.10)))
    low, high = band(shown)
    expected = (100 / 1.10, 100 / 0.98) if metric.better == "lower" else (100 * 0.98, 100 * 1.10)
    assert (low, high) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [LATENCY, THROUGHPUT])
@pytest.mark.parametrize("effect", [-0.2, -0.05, 0.0, 0.05, 0.2])
def test_a_run_lies_in_its_band_exactly_when_the_interval_holds_no_change(metric, effect):
    """Even where the baseline shown is another average than the one the effect was taken from."""
    shown = row(metric, baseline=123.0, candidate=100.0, effect=effect, interval=(effect - 0.1, effect + 0.1))
    low, high = band(shown)
    assert (low < 100.0 < high) == (effect - 0.1 < 0 < effect + 0.1)


@pytest.mark.parametrize("interval", [None, (-math.inf, 0.1), (-900.0, 900.0)])
def test_an_interval_without_end_has_no_band(interval):
    assert band(row(LATENCY, candidate=1.0, effect=0.0, interval=interval)) is None


def test_a_chart_holds_the_kept_runs_in_order_and_marks_other_machines():
    shown = situations.passing()
    kept = situations.history(shown, 12, elsewhere=(3, 7))
    page = Page(render(shown, kept))
    *drawn, runs = page.data
    assert len(drawn) == 2
    times = [runs[place]["time"] for place in drawn[0]["kept"]["run"]]
    assert times == sorted(times)
    assert [at for at, place in enumerate(drawn[0]["kept"]["run"]) if not runs[place]["here"]] == [3, 7]
    assert runs[drawn[0]["now"]["run"][0]]["time"] == runs[-1]["time"]
    assert drawn[0]["band"] == pytest.approx(band(shown.cases[0]))


def test_whiskers_are_the_quartiles_of_all_blocks():
    uneven = Series(metric=LATENCY, launches=((1.0, 2.0, 3.0), (4.0, 5.0)))
    shown = results(row(LATENCY, candidate=1.0))
    kept = History("main", (run(1, case(situations.TRANSFER, uneven)),))
    (point,) = charts(shown, kept)[situations.TRANSFER][0].kept
    assert point.middle == (2.0, 4.0)
    assert point.value == uneven.value == 3.25


def test_one_block_has_no_whiskers_and_other_units_are_not_drawn():
    shown = results(row(LATENCY, candidate=1.0))
    single = Series(metric=LATENCY, launches=((1.0,),))
    other = series(situations.Metric("latency_p99", "tx", "lower"), 1.0)
    kept = History("main", (run(1, case(situations.TRANSFER, single)), run(2, case(situations.TRANSFER, other))))
    (point,) = charts(shown, kept)[situations.TRANSFER][0].kept
    assert point.middle is None


def test_a_missing_case_still_shows_its_history():
    gone = "tests/test_transfer.py::test_gone"
    shown = situations.missing()
    kept = History("main", tuple(run(at, case(gone, series(LATENCY, 1e-3)), machine=ELSEWHERE) for at in range(3)))
    (chart,) = charts(shown, kept)[gone]
    assert chart.now is None
    assert chart.summary == (
        "3 kept runs from 2026-01-01 00:00 to 2026-01-02 00:00, between 1.00 ms and 1.00 ms; "
        "3 of them on other machines."
    )
    assert "The chart as a table" in Page(render(shown, kept)).text


def test_this_run_is_not_drawn_twice_once_it_is_kept():
    shown = situations.passing()
    kept = situations.history(shown, 3)
    saved = History("main", (*kept.runs, shown.run))
    assert len(charts(shown, saved)[situations.TRANSFER][0].kept) == 3


def test_the_small_drawing_is_in_thresholds_and_cut_at_its_ends():
    shape = forest(row(LATENCY, effect=0.1, interval=(-0.05, 9.0), threshold=0.05))
    assert (shape.low, shape.estimate, shape.high) == pytest.approx((-1, 2, 3))
    assert forest(row(LATENCY, effect=0.1, interval=(-0.05, 9.0))) is None


def test_cases_that_act_on_the_gate_are_unfolded():
    shown = results(
        judged(LATENCY, 1.0, 2.0, 0.01, Verdict.REGRESSED, id="a", action=Action.BLOCK),
        judged(LATENCY, 1.0, 1.0, 0.01, Verdict.EQUIVALENT, id="b"),
    )
    folded = {one["id"]: "open" not in one for one in Page(render(shown, None)).all("details") if "id" in one}
    assert folded == {anchor("a"): False, anchor("b"): True}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(scheme):
    """4.5 to 1 for every colour of text on every ground that it stands on."""
    style = render(situations.passing(), None)
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    colors = dict(re.findall(r"--([\w-]+): (#\w{6});", light if scheme == "light" else dark))

    def luminance(color):
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, other):
        darker, lighter = sorted((luminance(colors[one]), luminance(colors[other])))
        return (lighter + 0.05) / (darker + 0.05)

    grounds = ("page", "card", "shade", "bad-tint", "warn-tint", "good-tint")
    for text in ("text", "quiet"):
        assert all(contrast(text, ground) >= 4.5 for ground in grounds)
    for text in ("link", "bad", "warn", "good"):
        assert all(contrast(text, ground) >= 4.5 for ground in ("page", "card", "shade"))
        assert text == "link" or contrast(text, f"{text}-tint") >= 4.5


def test_the_page_names_packages_that_differ_from_the_newest_kept_run_and_the_machines_mood():
    shown = situations.passing()
    shown = replace(shown, run=replace(shown.run, packages={"numpy": "2.0", "same": "1"}, calibration=0.002))
    kept = situations.history(shown, 3)
    runs = [
        replace(known, packages={"numpy": "1.9", "same": "1", "gone": "3"}, calibration=0.001) for known in kept.runs
    ]
    text = Page(render(shown, replace(kept, runs=tuple(runs)))).text
    assert "2 differences from the newest kept run" in text
    assert "numpy 2.0 (was 1.9)" in text
    assert "gone absent (was 3)" in text
    assert "2.00 ms (kept runs 1.00 ms)" in text


def test_what_the_gate_can_tell_has_a_section_of_its_own():
    page = Page(render(situations.checked(), None))
    assert "What this gate can tell a slowdown of a single case is told in 95 of 100 gates" in page.text
    assert "0 of 8, 0-36.9 % 0 of 8 0.81 % 2.1 % 2.3 % told" in page.text
    assert "not checked to the end: its test failed" in page.text
    assert "What this gate can tell" not in Page(render(situations.without_baseline(), None)).text


def test_notes_are_shown_without_a_baseline_too():
    noted = replace(situations.without_baseline(), notes=("the machine was busy",))
    assert "the machine was busy" in Page(render(noted, None)).text


def changed(shown, kept, **fields):
    """The results, with a change point before the seventh kept run of their first row."""
    one = shown.cases[0]
    before, after = kept.runs[5], kept.runs[6]
    point = ChangePoint(
        **{
            "id": one.id,
            "metric": one.metric,
            "unit": one.unit,
            "better": one.better,
            "index": 6,
            "age": 5,
            "effect": math.log(1.3),
            "p_value": 0.0004,
            "before": 1.3e6,
            "after": 1.0e6,
            "runs": (6, 5),
            "last": Sighting(before.id, before.time, before.commit),
            "first": Sighting(after.id, after.time, after.commit),
            "commits": "1a2b3c4..5d6e7f8",
            "remark": "the run after the change had uncommitted changes",
            **fields,
        }
    )
    return replace(shown, changes=Changes(series=2, short=1, zero=0, fewest=12, share=0.05, points=(point,)))


def test_a_change_point_is_marked_in_the_chart_with_its_size_and_listed_with_its_commits():
    shown = situations.passing()
    kept = situations.history(shown, 10)
    page = Page(render(changed(shown, kept), kept))
    throughput, latency, _ = page.data
    assert throughput["changes"] == [{"at": 6, "text": "-23.1 %"}]
    assert latency["changes"] == []
    label = page.all("div")
    assert any("1 change point: -23.1 %" in one.get("aria-label", "") for one in label)
    for part in (
        "1a2b3c4..5d6e7f8 the run after the change had uncommitted changes",
        "2026-01-03 12:00 and 2026-01-04 00:00 -23.1 % worse 1.30 M tx/s to 1.00 M tx/s 6 and 5 0.0004",
        "2 series of kept runs searched; of those with a change point, 5 % may be false; 1 too short",
    ):
        assert part in page.text


def test_what_a_change_point_says_is_text_and_nothing_else():
    shown = situations.passing()
    kept = situations.history(shown, 10)
    evil = "</script><img src=x onerror=alert(1)>"
    page = Page(render(changed(shown, kept, commits=evil, remark=evil), kept))
    assert not page.all("img")
    assert page.text.count(evil) == 2
