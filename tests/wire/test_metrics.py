"""The metrics of `muster serve`, parsed by Prometheus' own Python parser."""

from __future__ import annotations

import pathlib
import re
import subprocess
import time
import urllib.error
import urllib.request

import muster_dev
import pytest
import single_node
from prometheus_client.parser import text_string_to_metric_families

ADDRESS = "127.0.0.1:19100"
# A name that would end the label and the line if it were not escaped.
NAME = 'plant "7"\\n{}'
CONFIGURATION = f"""
{single_node.OWNER}
[metrics]
listen = "{ADDRESS}"
"""
START_SECONDS = 60


@pytest.fixture
def families(tmp_path):
    """One answer, by name."""
    single_node.configure(tmp_path, 18571, CONFIGURATION, NAME)
    command = [str(muster_dev.binary()), "serve", "--config", "muster.toml", "--log", "warn"]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        try:
            yield {family.name: family for family in text_string_to_metric_families(scrape())}
        finally:
            process.terminate()
            assert process.wait(timeout=START_SECONDS) == 0


def scrape() -> str:
    """Returns the text when the server is up."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://{ADDRESS}/metrics", timeout=5) as answer:
                assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
                return answer.read().decode("utf-8")
        except urllib.error.URLError:
            assert time.monotonic() < deadline, "the service does not start"
            time.sleep(0.1)


def test_prometheus_reads_what_is_documented(families):
    page = (pathlib.Path(muster_dev.REPOSITORY) / "docs/metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(muster_\w+?)(?:_total)?` \| (\w+) \|(.*?)\|", page, re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert {name: family.type for name, family in families.items()} == {
        name: kind for name, (kind, _) in documented.items()
    }
    for name, family in families.items():
        for sample in family.samples:
            assert set(sample.labels) == documented[name][1], name


def test_instance_names_are_escaped(families):
    instances = {sample.labels["instance"] for sample in families["muster_cleanups_owed"].samples}
    assert instances == {NAME}
