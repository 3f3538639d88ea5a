"""pytest's hooks, as a table of contents: each is a few lines that call a room.

Importing this module costs next to nothing. Without a ``--supervm`` option only the fixtures and markers exist; with
one, `Hooks` is registered and the rest of the laboratory is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pytest_supervm import cases, settings

if TYPE_CHECKING:
    from pytest_supervm.session import Laboratory

pytest_plugins = ("pytest_supervm.fixtures",)

T = TypeVar("T")


def pytest_addoption(parser: pytest.Parser) -> None:
    settings.add_options(parser)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    for marker in settings.MARKERS:
        config.addinivalue_line("markers", marker)
    if settings.is_active(config):
        laboratory = _laboratory(config)
        config.pluginmanager.register(Hooks(laboratory), "supervm-hooks")
        if laboratory.settings.duels:
            config.pluginmanager.register(DuelHooks(laboratory), "supervm-duel-hooks")
        if cases.has_pytest_benchmark(config):
            from pytest_supervm.adopt import Adoption

            adoption = Adoption(config, laboratory.instrument, live=laboratory.settings.ref is not None)
            laboratory.fixtures = adoption.fixtures
            config.pluginmanager.register(adoption, "supervm-adoption")


def _laboratory(config: pytest.Config) -> Laboratory:
    from pytest_supervm.session import Laboratory

    laboratory = _usage(lambda: Laboratory(config, settings.read(config)))
    config.stash[cases.INSTRUMENTS] = laboratory
    return laboratory


def _usage(do_it: Callable[[], T]) -> T:
    """Turn what the user can set right into an error of usage."""
    from pytest_supervm.baselines import BaselineError
    from pytest_supervm.measure.turnstile import TurnstileError

    try:
        return do_it()
    except (settings.SettingsError, BaselineError, TurnstileError) as error:
        raise pytest.UsageError(str(error)) from None


class DuelHooks:
    """The hooks of an invocation that plays duels: for its verdict, to confirm one, or to check what duels tell."""

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        return True if self.laboratory.is_postponed(item) else None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        result = yield
        _usage(self.laboratory.duel)
        _usage(self.laboratory.check_itself)
        return result


class Hooks:
    """The hooks of an invocation that measures."""

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory

    def pytest_report_header(self) -> list[str]:
        return self.laboratory.header()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self.laboratory.check_marker(item)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.laboratory.census.deselect(items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.laboratory.census.broken.add(report.nodeid)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.laboratory.select(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.laboratory.census.select(ids)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        with self.laboratory.admit(item):
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.laboratory.refuse(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.laboratory.attach(item, report)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.laboratory.gather(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.laboratory.from_worker(getattr(node, "workeroutput", {}))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        session.exitstatus = self.laboratory.finish(exitstatus)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        self.laboratory.show(terminalreporter)
