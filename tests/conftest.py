"""One `muster dev` for the whole session; a skipped test is a failed run."""

import contextlib
import os
import pathlib

import muster_dev
import pytest


@pytest.fixture(scope="session")
def dev(tmp_path_factory):
    """A running `muster dev` on the standard ports, trusted by every SDK of this process."""
    directory: pathlib.Path = tmp_path_factory.mktemp("muster-dev")
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(muster_dev.running_dev(directory))
        except muster_dev.DevFailure as failure:
            # Without it no test can run: one message instead of one error for each test.
            pytest.exit(f"error: {failure}", returncode=pytest.ExitCode.TESTS_FAILED)
        os.environ.update(muster_dev.sdk_environment(running))
        yield running


def pytest_sessionfinish(session, exitstatus):
    """Fails the run if a test was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    unrun = [kind for kind in ("skipped", "xfailed", "xpassed") if reporter.stats.get(kind)]
    if unrun and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"error: tests were {', '.join(unrun)}; every test must run", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
