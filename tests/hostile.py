"""Texts that attack the page that shows them, and a look at whether one succeeds."""

import re

from pages import wait_for

FOREIGN = "http://attack.invalid"
# Each would leave a mark: call attacked(), put an element of class "attack" into the page, or ask FOREIGN.
CORPUS = [
    "<script>attacked()</script>",
    "</script><script>attacked()</script>",
    "<!--<script>attacked()//-->",
    '"><img class=attack src=x onerror=attacked()>',
    "'><img class=attack src=x onerror=attacked()>",
    "<svg class=attack onload=attacked()>",
    "</style><b class=attack>x</b>",
    "</title><b class=attack>x</b>",
    "</textarea></pre></table></noscript><b class=attack>x</b>",
    "&lt;b class=attack&gt;x&lt;/b&gt;",
    "&#60;b class=attack&#62;x",
    '" autofocus onfocus="attacked()" class="attack',
    "' onmouseover='attacked()' class='attack",
    "javascript:attacked()",
    "[x](javascript:attacked())",
    f"![x]({FOREIGN}/x.png)",
    f"<link class=attack rel=stylesheet href={FOREIGN}/x.css>",
    f"<style class=attack>@import '{FOREIGN}/y.css'</style>",
    f"<base class=attack href={FOREIGN}>",
    f"<meta class=attack http-equiv=refresh content='0;url={FOREIGN}'>",
    "<iframe class=attack srcdoc='<script>parent.attacked()</script>'></iframe>",
    "<math><mtext><table><mglyph><style><!--</style>"
    "<img class=attack title='--&gt;&lt;img src=1 onerror=attacked()&gt;'>",
    "${attacked()}",
    "`;attacked();`",
    "');attacked();//",
    '\\");attacked();//',
    "{{ attacked() }}{% raw %}",
    "$$\\href{javascript:attacked()}{x}$$",
    "@name{safe} @{x}{safe}<b class=attack>x</b>",
    "\u2028attacked()\u2029</scr\u0000ipt>",
    "\u202e<b class=attack>x</b>",
    "]]><b class=attack>x</b>",
]
HOSTILE = " ".join(CORPUS)
FILE_NAME = "<img class=attack src=x onerror=attacked()>'\"&${attacked()}.wav"


def hostile(text: str, index: int = 0) -> str:
    """Return a text that holds the whole corpus; `index` keeps several apart."""
    return f"{text}{index} {HOSTILE}"


# What opens in the page before anything of it: a mark is left by whatever calls it.
MARK = "window.attacks = 0; window.attacked = () => { window.attacks += 1 }"
ELEMENTS = """() => {
  const all = (node) => [...node.querySelectorAll("*")].flatMap((each) => [
    each, ...(each.shadowRoot ? all(each.shadowRoot) : []),
  ])
  return all(document).filter((each) => each.classList.contains("attack") || [...each.attributes].some(
    ({ name, value }) => (name.startsWith("on") && value.includes("attacked")) || /^javascript:/i.test(value)
  )).map((each) => each.outerHTML.slice(0, 200))
}"""


def attacks(browser, address: str, *, until: str = "true", files: tuple[str, ...] = ()) -> list[str]:
    """Open a page as a reader does, touch what can be touched, and list what was let through.

    The page is complete when `until` holds. It may ask for addresses that begin with one of `files`, and for
    nothing else.
    """
    context = browser.new_context(bypass_csp=True, viewport={"width": 1280, "height": 4000})
    asked, errors = [], []
    context.route(re.compile("^https?:"), lambda route: route.fulfill(status=204))  # stay on the page
    page = context.new_page()
    page.add_init_script(MARK)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    page.wait_for_load_state("load")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # pages draw all of their figures then
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    wait_for(page, until)
    page.wait_for_timeout(300)  # for what answers late
    size = page.viewport_size
    for x in range(40, size["width"], 120):  # what is told where the pointer stands
        for y in range(40, size["height"], 400):
            page.mouse.move(x, y)
    found = [f"{page.evaluate('window.attacks')} calls"] if page.evaluate("window.attacks") else []
    found += page.evaluate(ELEMENTS)
    found += [url for url in asked if url != address and not url.startswith(("data:", "blob:", *files))]
    found += errors
    context.close()
    return found
