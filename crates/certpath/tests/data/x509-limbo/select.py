#!/usr/bin/env python3
"""Selects the cases of C2SP x509-limbo that concern Muster: `select.py limbo.json > cases.json`.

A case is left out when its outcome depends on what Muster does not ask of a device's chain:
  - the name of a server that was called (namespaces webpki::san and webpki::cn);
  - a limit to the length of paths that the caller sets (feature max-chain-depth);
  - revocation lists, which are judged elsewhere (feature has-crl).
Everything else is taken, whatever Muster makes of it; where it disagrees, disagreements.json says why.
"""

import json
import sys

ABOUT_SERVER_NAMES = ("webpki::san::", "webpki::cn::")
NOT_ASKED = {"max-chain-depth", "has-crl"}
PURPOSES = {"clientAuth": "client", "serverAuth": "server"}


def concerns_us(case):
    return not case["id"].startswith(ABOUT_SERVER_NAMES) and not NOT_ASKED & set(case["features"])


def der(pem):
    """The base64 between the lines of a PEM block."""
    return "".join(pem.strip().splitlines()[1:-1])


def selected(case):
    purposes = [PURPOSES[usage] for usage in case["extended_key_usage"] if usage in PURPOSES]
    return {
        "id": case["id"],
        "expected": case["expected_result"] == "SUCCESS",
        "at": (case["validation_time"] or "").replace("+00:00", "Z") or None,
        "purpose": purposes[0] if purposes else None,
        "anchors": [der(pem) for pem in case["trusted_certs"]],
        "intermediates": [der(pem) for pem in case["untrusted_intermediates"]],
        "leaf": der(case["peer_certificate"]),
    }


def main():
    cases = [selected(case) for case in json.load(open(sys.argv[1]))["testcases"] if concerns_us(case)]
    lines = (json.dumps(case, separators=(",", ":")) for case in sorted(cases, key=lambda case: case["id"]))
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()
