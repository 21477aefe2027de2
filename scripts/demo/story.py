"""Plays the phases of the demo on window boundaries, and reads the windows as they are posted."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx

from scripts.demo.others import RATE, OtherModel, OtherOutcome, see_windows, send_steady
from scripts.demo.phases import (
    Phase,
    PlayedPhase,
    SnapshotWindow,
    next_boundary,
    read_windows,
    traffic_of,
    windows_between,
)
from scripts.load.pool import Pool
from scripts.load.run import Plan, run_load
from scripts.load.summary import Summary
from scripts.load.target import probe
from scripts.load.traffic import make_calls, pool_for
from scripts.stack.errors import StoppedError
from scripts.stack.services import Interruption
from scripts.stack.stack import Stack

LABEL_DELAY_SECONDS = 1.0
_LEAD_SECONDS = 0.25
_TAIL_SECONDS = LABEL_DELAY_SECONDS + 1.0
_POLL_SECONDS = 0.5
_CONCURRENCY = 16


@dataclass(frozen=True)
class DemoPlan:
    """What is played: the phases in order, requests a second, the seed, and how long to wait for the last window."""

    phases: Sequence[Phase]
    interval_seconds: int
    rate: float
    seed: int
    timeout_seconds: float = 120.0
    others: Sequence[OtherModel] = ()
    """Other models, which get steady traffic meanwhile."""


@dataclass
class Outcome:
    """The phases that were played, the counts of their loads, and the windows seen, by their start."""

    played: list[PlayedPhase] = field(default_factory=list)
    loads: list[Summary] = field(default_factory=list)
    windows: dict[datetime, SnapshotWindow] = field(default_factory=dict)
    others: list[OtherOutcome] = field(default_factory=list)


Say = Callable[[str], None]
Watch = Callable[[str, float], None]
"""Called with the current step and the share of it that is done."""


class Story:
    """Plays a plan on a running stack. `say` is called once for each event, `watch` for progress."""

    def __init__(self, stack: Stack, plan: DemoPlan, interruption: Interruption, say: Say, watch: Watch) -> None:
        self._stack = stack
        self._plan = plan
        self._interruption = interruption
        self._say = say
        self._watch = watch
        self._outcome = Outcome()
        self._playing: tuple[Phase, datetime] | None = None
        self._began = datetime.now(UTC)

    async def play(self) -> Outcome:
        """Play every phase and wait for its windows.

        Raises ChildDiedError if a service dies, StoppedError if the user stops the demo, LoadError or ModelError if
        the API does not serve the stack's model.
        """
        target = probe(self._stack.config.api_url)
        pool = pool_for(target, self._stack.config.model_dir)
        phases = asyncio.create_task(self._play_phases(pool))
        others = [asyncio.create_task(self._steady(model)) for model in self._plan.others]
        try:
            async with httpx.AsyncClient(base_url=target.url, trust_env=False) as client:
                while not phases.done():
                    self._stack.check()
                    if self._interruption.requested:
                        raise StoppedError("stopped before the end of the demo")
                    await self._see_windows(client)
                    await asyncio.wait({phases}, timeout=_POLL_SECONDS)
        finally:
            for task in (phases, *others):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await phases
            await asyncio.gather(*others, return_exceptions=True)
        return self._outcome

    async def _play_phases(self, pool: Pool) -> None:
        boundary = next_boundary(datetime.now(UTC), self._plan.interval_seconds)
        for number, phase in enumerate(self._plan.phases):
            await self._wait_until(boundary, f"waiting for the window that starts at {boundary:%H:%M:%S}")
            self._say(f"{phase.scenario}: {phase.windows} windows of {self._plan.interval_seconds} s")
            await self._perform(phase, pool, boundary, self._plan.seed + number)
            planned = boundary + phase.windows * self._interval
            # A phase that was delayed ends late: the next one then starts a window later, not in its middle.
            boundary = max(planned, next_boundary(datetime.now(UTC), self._plan.interval_seconds))
        await self._await_windows()

    async def _steady(self, model: OtherModel) -> None:
        """Send steady traffic to another model for as long as the phases last."""
        seconds = sum(phase.windows for phase in self._plan.phases) * self._plan.interval_seconds
        how = "predicted by another program and only logged here" if model.is_watched else "steady"
        self._say(f"{model.name}: {how}, {RATE:g} rows/s")
        self._outcome.others.append(await send_steady(model, self._stack.config.api_url, seconds, seed=self._plan.seed))

    async def _perform(self, phase: Phase, pool: Pool, boundary: datetime, seed: int) -> None:
        await asyncio.sleep(max((boundary - datetime.now(UTC)).total_seconds() + _LEAD_SECONDS, 0))
        length = phase.windows * self._plan.interval_seconds - _LEAD_SECONDS - _TAIL_SECONDS
        plan = Plan(phase.scenario, self._plan.rate, length, LABEL_DELAY_SECONDS, _CONCURRENCY)

        def watch(summary: Summary, doing: str) -> None:
            self._watch(f"{phase.scenario}: {doing}, {summary.failures} failed", summary.sent / summary.planned)

        first = datetime.now(UTC)
        self._playing = (phase, first)
        calls = make_calls(phase.scenario, pool, seed=seed)
        self._outcome.loads.append(await run_load(self._stack.config.api_url, calls, plan, asyncio.Event(), watch))
        self._outcome.played.append(PlayedPhase(phase, first, datetime.now(UTC)))
        self._playing = None

    async def _wait_until(self, moment: datetime, why: str) -> None:
        begun = datetime.now(UTC)
        while (now := datetime.now(UTC)) < moment:
            self._watch(why, (now - begun) / (moment - begun))
            await asyncio.sleep(min((moment - now).total_seconds(), _POLL_SECONDS))

    async def _await_windows(self) -> None:
        """Return when every window of the phases is settled, or the time is up."""
        played = self._outcome.played
        expected = windows_between(played[0].first, played[-1].last, self._plan.interval_seconds)
        deadline = expected[-1][1] + timedelta(seconds=self._plan.timeout_seconds)
        while datetime.now(UTC) < deadline:
            windows = self._outcome.windows
            seen = sum(start in windows and windows[start].settled for start, _ in expected)
            others = [one.is_settled(self._plan.interval_seconds) for one in self._outcome.others]
            if seen == len(expected) and len(others) == len(self._plan.others) and all(others):
                return
            self._watch(f"waiting for {len(expected) - seen} more snapshots", seen / len(expected))
            await asyncio.sleep(_POLL_SECONDS)

    async def _see_windows(self, client: httpx.AsyncClient) -> None:
        since = next_boundary(self._began, self._plan.interval_seconds) - self._interval
        for start, window in (await read_windows(client, since)).items():
            before = self._outcome.windows.get(start)
            self._outcome.windows[start] = window
            if window.settled and not (before and before.settled):
                self._say(self._describe(window))
        for other in self._outcome.others:
            await see_windows(other, client, since)

    def _describe(self, window: SnapshotWindow) -> str:
        so_far = [PlayedPhase(*self._playing, datetime.now(UTC))] if self._playing else []
        name = traffic_of(window.start, window.end, [*self._outcome.played, *so_far]).name
        verdict = ", ".join(window.checks) or window.reason or "no failed checks"
        span = f"{window.start:%H:%M:%S} to {window.end:%H:%M:%S}"
        return f"  window {span} ({name}): {window.status}, {window.rows} rows, {verdict}"

    @property
    def _interval(self) -> timedelta:
        return timedelta(seconds=self._plan.interval_seconds)
