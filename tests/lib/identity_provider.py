"""Runs `identity_provider.mjs`, and logs users in at its pages as a browser does."""

from __future__ import annotations

import contextlib
import http.cookiejar
import pathlib
import re
import urllib.parse
import urllib.request

import muster_dev
import processes

# Pages of one login: the code, its confirmation, the name, the consent.
MAX_PAGES = 8


@contextlib.contextmanager
def running(directory: pathlib.Path, port: int, lifetime: int = 600):
    """A provider with new keys, whose access tokens expire after this many seconds."""
    program = muster_dev.REPOSITORY / "tests/lib/identity_provider.mjs"
    with (directory / "provider.log").open("a") as log:
        command = ["node", str(program), str(port), str(lifetime)]
        with processes.running(command, muster_dev.REPOSITORY / "tests/sdk/node", log):
            processes.wait_for(port)
            yield


def log_in(url: str, user: str, is_denied: bool = False) -> str:
    """Opens the address and answers each form until a page has none, or the login is denied; returns that page."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    reply = browser.open(url, timeout=30)
    for _ in range(MAX_PAGES):
        page = reply.read().decode()
        form = re.search(r"<form.*?</form>", page, re.DOTALL)
        if not form:
            return page
        fields = dict.fromkeys(re.findall(r'name="([^"]+)"', form[0]), "")
        fields |= dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form[0]))
        if "login" in fields:
            fields |= {"login": user, "password": "any"}
        if is_denial := "confirm" in fields and is_denied:
            fields["abort"] = fields.pop("confirm")
        action = re.search(r'action="([^"]+)"', form[0])[1]
        body = urllib.parse.urlencode(fields).encode()
        reply = browser.open(urllib.parse.urljoin(reply.geturl(), action), body, timeout=30)
        if is_denial:
            return reply.read().decode()
    raise AssertionError(f"the login has more than {MAX_PAGES} pages")
