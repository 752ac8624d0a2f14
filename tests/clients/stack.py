"""The running stack that client libraries are tried against, and the simulator behind it."""

import json
import logging
import os
import unittest
import urllib.request
from contextlib import contextmanager

URL = os.environ["TURNPIKE_DATA_URL"] + "/v1"
KEY = os.environ["TURNPIKE_API_KEY"]
LIMITED_KEY = os.environ["TURNPIKE_LIMITED_KEY"]
"""May make one request a minute."""
WRONG_KEY = "tpk_live_" + "x" * 40
SIMULATOR = os.environ["TURNPIKE_SIMULATOR_URL"] + "/__control"

DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
"""The smallest picture there is."""

# The first call of a library loads much of it, which asyncio would complain of as slow.
logging.getLogger("asyncio").setLevel(logging.ERROR)

not_yet = unittest.expectedFailure
"""Marks what the data plane does not do yet; once it does, the mark is a failure."""


def control(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(SIMULATOR + path, data, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return json.load(opener.open(request, timeout=15))


@contextmanager
def fault(spelling, **scope):
    """While it lasts, the provider's calls in `scope` go wrong so."""
    control("POST", "/faults", {"fault": spelling, **scope})
    try:
        yield
    finally:
        control("DELETE", "/faults")


def last_call():
    return control("GET", "/calls")["last"]


def call_ended_after(number):
    """Waits for the first call after `number` to end, and tells what the provider saw."""
    return control("GET", f"/calls?after={number}&finished=1&wait_ms=10000")["calls"][0]
