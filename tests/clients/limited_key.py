"""Makes an API key that may make one request a minute, as its owner does, and prints it.

Everything it needs is in the environment, as in a stack's demo.env.
"""

import os
import re
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser


class Forms(HTMLParser):
    """The fields of each form in a page, by where it is sent."""

    def __init__(self, page):
        super().__init__()
        self.forms = {}
        self.fields = {}
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "form":
            self.fields = self.forms.setdefault(given.get("action"), {})
        elif tag == "input" and given.get("name"):
            chosen = given.get("type") not in ("checkbox", "radio") or "checked" in given
            if chosen:
                self.fields.setdefault(given["name"], []).append(given.get("value") or "")


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Visitor:
    """A browser in little. Cookies are kept by hand: ours are for TLS only."""

    def __init__(self, base):
        self.base = base
        self.cookies = {}
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirects())

    def send(self, path, form=None):
        data = None if form is None else urllib.parse.urlencode(form, doseq=True).encode()
        request = urllib.request.Request(self.base + path, data)
        request.add_header("Origin", self.base)
        request.add_header("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        try:
            answer = self.opener.open(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, value = line.split(";")[0].split("=", 1)
            self.cookies[name] = value
        return answer

    def fill(self, path, action, typed):
        fields = Forms(self.send(path).read().decode()).forms[action]
        return self.send(action, {**fields, **typed})


def main():
    owner = Visitor(os.environ["TURNPIKE_CONTROL_URL"])
    login = {"email": os.environ["TURNPIKE_OWNER_EMAIL"], "password": os.environ["TURNPIKE_OWNER_PASSWORD"]}
    owner.fill("/login", "/login", login)
    organizations = owner.send("/orgs").read().decode()
    organization = re.search(r'"(/orgs/(?!new)[^/"]+)"', organizations).group(1)
    keys = f"{organization}/keys"
    page = owner.fill(f"{keys}/new", keys, {"name": "one a minute", "requests_per_minute": "1"})
    print(re.search(r"tpk_live_\w+", page.read().decode()).group())


main()
