"""Which clock is trusted: jumps are set by the test, and so is the time that really passes."""

from api.prediction_log.clock import MIN_JUMP_DURATION, TOLERANCE, SteadyClock, WindowTime

SECOND = 1_000_000
DAY = 86_400 * SECOND


class Passing:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_clock_that_runs_as_it_should_is_followed() -> None:
    passing = Passing()
    clock = SteadyClock(passing)
    for minute in range(100):
        passing.seconds = minute * 60.0
        shown = DAY + minute * 61 * SECOND  # a little fast, as it is being corrected
        assert clock.follow(shown) == shown


def test_a_jump_ahead_that_does_not_last_is_not_seen() -> None:
    passing = Passing()
    clock = SteadyClock(passing)
    clock.follow(DAY)
    passing.seconds = 300
    assert clock.follow(366 * DAY) == DAY + 300 * SECOND
    passing.seconds = MIN_JUMP_DURATION.total_seconds() - 1
    assert clock.follow(DAY + 599 * SECOND) == DAY + 599 * SECOND
    passing.seconds = MIN_JUMP_DURATION.total_seconds() + 300
    assert clock.follow(366 * DAY) == DAY + 900 * SECOND


def test_a_jump_back_is_bridged_and_then_followed() -> None:
    passing = Passing()
    clock = SteadyClock(passing)
    clock.follow(10 * DAY)
    passing.seconds = 1
    assert clock.follow(DAY) == 10 * DAY + SECOND
    passing.seconds = 1 + MIN_JUMP_DURATION.total_seconds()
    shown = DAY + 600 * SECOND
    assert clock.follow(shown) == shown
    passing.seconds += 1
    assert clock.follow(shown + SECOND) == shown + SECOND


def test_a_clock_that_jumps_about_is_not_followed() -> None:
    passing = Passing()
    clock = SteadyClock(passing)
    clock.follow(DAY)
    for minute in range(1, 60):
        passing.seconds = minute * 60.0
        assert clock.follow((2 + minute) * DAY) == DAY + minute * 60 * SECOND


def test_what_is_within_the_tolerance_is_followed_at_once() -> None:
    passing = Passing()
    clock = SteadyClock(passing)
    clock.follow(DAY)
    shown = DAY + int(TOLERANCE.total_seconds()) * SECOND
    assert clock.follow(shown) == shown


def test_windows_go_on_at_half_speed_until_the_clock_has_caught_up() -> None:
    passing = Passing()
    windows = WindowTime(passing)
    start = 10 * DAY
    ahead = start + DAY // 24  # an hour
    assert windows.follow(start, start) == start
    assert windows.follow(start, ahead) == ahead
    passing.seconds = 600
    assert windows.follow(start + 600 * SECOND, ahead) == ahead + 300 * SECOND
    closed = ahead + 900 * SECOND  # by hand, or by another process
    assert windows.follow(start + 600 * SECOND, closed) == closed
    passing.seconds = 800
    assert windows.follow(start + 800 * SECOND, closed) == closed + 100 * SECOND
    passing.seconds = 7200
    assert windows.follow(closed, closed) == closed


def test_windows_that_are_a_little_ahead_wait() -> None:
    assert WindowTime(Passing()).follow(DAY, DAY + 59 * SECOND) == DAY
