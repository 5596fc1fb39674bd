"""What holds for every test."""

import signal

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is. The same examples every time: no change is refused for what
# one of another change's happens to show. `pytest --hypothesis-profile default` looks for others.
settings.register_profile(
    "any machine", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


LONGEST_S, LONGEST_SLOW_S = 1800, 7200  # many times what the longest one takes


@pytest.fixture(autouse=True)
def no_test_waits_for_ever(request):
    """One that waits for what does not come fails, and the others go on."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return
    longest_s = LONGEST_SLOW_S if request.node.get_closest_marker("slow") else LONGEST_S
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"not through after {longest_s} s"))
    signal.alarm(longest_s)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def interrupts_are_heard():
    """A test run in the background of a shell ignores SIGINT, and so would every process that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
