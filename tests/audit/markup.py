"""Every page of a site, as the Nu HTML checker reads it."""

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

# What other programs write into pages, by the beginning of what the checker says of it, and why it stays.
# Nothing else is forgiven.
UPSTREAM = {
    "Attribute “tooltip” not allowed on element “div”": (
        "sphinx-gallery's thumbnails, whose style sheet shows this attribute"
    ),
    "Trailing slash on void elements": "docutils and Sphinx end empty elements as XHTML does",
    # It reads files, which have no host that a policy could allow, and it counts no hashes. A browser tries
    # every directive in tests/site/test_csp.py, and no page may complain in one in tests/site/test_pages.py.
    "Resource violates Content Security Policy": "the policy allows the site's own host, and a file has none",
    "Inline script violates Content Security Policy": "the policy allows scripts by hash; it computes none",
    "Article lacks heading": "Furo's sections within the article carry the headings",
    "Consider using the “h1” element as a top-level heading only": "docutils puts h1 into a section",
    "Duplicate “dt” name": "numpydoc lists two returned values of one type",
    "The first occurrence of “dt” name": "numpydoc lists two returned values of one type",
}


def check(jar: Path, site: Path) -> dict[str, Any]:
    """Return how many messages there are of each kind, and those that are nobody else's."""
    command = ["java", "-Xss4m", "-Xmx1500m", "-jar", jar, "--format", "json", "--exit-zero-always"]
    finished = subprocess.run(
        [*command, "--skip-non-html", site], capture_output=True, text=True, check=True, timeout=1200
    )
    messages = json.loads(finished.stderr)["messages"]
    kinds, upstream, own = Counter(), Counter(), []
    for message in messages:
        kind = message.get("subType", message["type"])
        kinds[kind] += 1
        reason = next((UPSTREAM[start] for start in UPSTREAM if message["message"].startswith(start)), None)
        if reason is None:
            page = message["url"].rpartition(site.name + "/")[2]
            own.append(f"{page}:{message.get('lastLine')}: {kind}: {message['message']}")
        else:
            upstream[reason] += 1
    return {"kinds": dict(kinds), "upstream": dict(upstream), "own": own}
