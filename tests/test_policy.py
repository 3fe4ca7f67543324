"""What a page of one file may do, as its policy says it."""

import base64
import hashlib

from asrscope.plots.policy import content_policy, scripts_in, source_of


def rules(policy):
    return dict(rule.split(" ", 1) for rule in policy.split("; "))


def test_without_scripts_nothing_runs_and_nothing_is_fetched():
    found = rules(content_policy())
    assert (
        found["default-src"] == found["script-src"] == found["base-uri"] == found["form-action"] == "'none'"
    )
    assert "connect-src" not in found  # default-src holds for all that is not named


def test_a_script_is_allowed_by_its_hash_and_a_style_sheet_too():
    script, style = "let a = '</b>' && 1;\n", "b { color: red }"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert source_of(script) == f"'sha256-{digest}'"
    found = rules(content_policy([script], styles=style, media="data: blob:"))
    assert found["script-src"] == f"'sha256-{digest}'"
    assert found["style-src"] == source_of(style)
    assert found["media-src"] == "data: blob:"
    assert rules(content_policy([script], evaluates=True))["script-src"].endswith("' 'unsafe-eval'")


def test_scripts_are_found_as_they_stand_without_data_and_files():
    page = (
        '<head><script src="x.js"></script><script type="application/json">{"a": 1}</script>'
        "<script>if (1 < 2 && '<b>') {}\n</script></head><body><p>none</p>"
        '<script type="module">import "./y.js"</script></body>'
    )
    assert scripts_in(page) == ["if (1 < 2 && '<b>') {}\n", 'import "./y.js"']
