"""What the site needs to be hosted and trusted: policy, lines on pages, previews, hashes, services."""

import base64
import hashlib
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
EXTENSIONS = ROOT / "conf" / "extensions"
sys.path.insert(0, str(EXTENSIONS))

import csp  # noqa: E402 - found through the line above
import previews  # noqa: E402

CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["csp", "hosting", "previews", "myst_parser", "notfound.extension", "sphinxext.opengraph",
              "sphinx_sitemap"]
project = "mini"
html_theme = "furo"
sphinx_gallery_conf = {{"examples_dirs": ["scripts"], "gallery_dirs": ["gallery"]}}
exclude_patterns = ["scripts"]
html_baseurl = ogp_site_url = "https://owner.github.io/name/"
ogp_image = "_static/card.png"
ogp_enable_meta_description = False
notfound_urls_prefix = "/name/"
sitemap_url_scheme = "{{link}}"
sitemap_excludes = ["404.html", "genindex.html", "search.html"]
html_theme_options = {{"source_repository": "https://github.com/owner/name", "source_branch": "main",
                      "source_directory": "docs/"}}
hosting_notebooks = "https://colab.research.google.com/github/owner/name/blob/gh-pages/notebooks"
previews = {previews!r}
html_copy_source = False

def setup(app):
    app.add_config_value("sphinx_gallery_conf", {{}}, "")  # without the gallery, which has it
"""
SENTENCE = "The first sentence says what the page is about."
PAGES = {
    "index.md": f"""# A "page" & more

```{{note}}
An aside.
```

Of {{doc}}`deep/er/page` nothing is said. {SENTENCE} {SENTENCE} {SENTENCE} {SENTENCE}

{{download}}`give.txt`

```{{toctree}}
deep/er/page
gallery/10_script
bad
long
```
""",
    "long.md": f"# Long\n\n{'word ' * 50}\n",
    "deep/er/page.md": "# Deep\n\nWhat stands deep below.\n",
    "gallery/10_script.rst": "Script\n======\n\nMade of a script.\n",
    "bad.md": """# Bad

A page that wants too much.

<button onclick="x()">x</button> <a href="javascript:x()">x</a>

<script>window.mine = "<b>"</script>

<img src="https://elsewhere.invalid/x.png">
""",
    "give.txt": "given away",
    "scripts/10_script.py": "print()",
    "gallery/10_script.ipynb": "{}",
}
PREVIEWS = {
    "about": {"deep/er/page": "A line of its own.", "bad": "x" * 161},
    "words": {"deep/er/page": "abyss </script>", "gone": "x"},
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A small site with an address: its folder, and the warnings of its build."""
    root = tmp_path_factory.mktemp("repository")
    for name, text in PAGES.items():
        path = root / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "conf").mkdir()
    conf = CONF.format(extensions=str(EXTENSIONS), previews=PREVIEWS)
    (root / "conf" / "conf.py").write_text(conf, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", "conf", "docs", "site"]
    result = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return root / "site", result.stderr


@pytest.fixture(scope="module")
def site(built):
    return built[0]


def meta(page: str, name: str) -> str:
    """Return what a page's element `meta` of some name or property says."""
    (found,) = re.findall(rf'<meta (?:name|property)="{name}" content="([^"]*)"', page)
    return found


def test_a_policy_allows_each_script_that_stands_in_the_page_and_no_other():
    page = '<meta charset="utf-8"><script>one</script><script src="a.js"></script><script>two</script>'
    done, stopped = csp.protected(page)
    digests = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in (b"one", b"two")]
    assert stopped == []
    allowed = re.search(r"script-src ([^;]*);", done)[1].split()
    assert sorted(allowed) == sorted(["'self'", *(f"'sha256-{digest}'" for digest in digests)])
    assert csp.protected(done)[0] == done  # a page that is not written again keeps its policy
    with pytest.raises(ValueError, match="charset"):
        csp.protected("<script>one</script>")


def test_scripts_are_found_as_they_stand_without_data_and_files():
    page = (
        '<head><script src="x.js"></script><script type="application/json">{"a": 1}</script>'
        "<script>if (1 < 2 && '<b>') {}\n</script></head><body><p>none</p>"
        '<script type="module">import "./y.js"</script></body>'
    )
    assert csp.SCRIPT.findall(page) == ["if (1 < 2 && '<b>') {}\n", 'import "./y.js"']


def test_a_page_that_needs_what_the_policy_forbids_is_a_warning(built):
    _site, warnings = built
    policy = [line for line in warnings.splitlines() if "content security policy" in line]
    assert len(policy) == 3
    for what in ("onclick of <button>", "program, in <a>", "<img> from another host"):
        assert any(what in line and "bad.html" in line for line in policy), what


def test_a_line_is_made_of_whole_sentences_without_asides_and_unknown_titles(site):
    line = meta((site / "index.html").read_text(encoding="utf-8"), "description")
    assert line == " ".join([SENTENCE] * 3)
    assert len(line) <= previews.LONGEST
    long = meta((site / "long.html").read_text(encoding="utf-8"), "description")
    assert long.endswith("word…")
    assert len(long) <= previews.LONGEST


def test_the_table_has_the_last_word_and_is_checked(built):
    site, warnings = built
    page = (site / "deep" / "er" / "page.html").read_text(encoding="utf-8")
    assert meta(page, "description") == meta(page, "og:description") == "A line of its own."
    assert "there is no page 'gone'" in warnings
    assert "the line on 'bad' has 161 characters" in warnings
    search = (site / "search.html").read_text(encoding="utf-8")
    assert "abyss \\u003c/script>" in search
    assert "about" in re.search(r"window.searchPages = (\{.*\})", search)[1]


def test_each_page_names_the_picture_of_the_site_at_its_whole_address(site):
    page = (site / "deep" / "er" / "page.html").read_text(encoding="utf-8")
    assert meta(page, "og:image") == "https://owner.github.io/name/_static/card.png"


def test_a_notebook_is_opened_in_colab_from_the_page_that_has_one(site):
    page = (site / "gallery" / "10_script.html").read_text(encoding="utf-8")
    address = (
        "https://colab.research.google.com/github/owner/name/blob/gh-pages/notebooks/gallery/10_script.ipynb"
    )
    assert f'href="{address}"' in page
    assert "colab" not in (site / "index.html").read_text(encoding="utf-8")


def configured(monkeypatch, **variables: str) -> dict:
    """Return what conf.py says in an environment."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(ROOT / "conf" / "conf.py"))


@pytest.mark.parametrize(
    "address", ["https://github.com/someone/course", "https://github.com/someone/course.git/"]
)
def test_notebooks_are_opened_where_the_repository_has_them(monkeypatch, address):
    conf = configured(monkeypatch, ASRSCOPE_REPOSITORY=address)
    binder = conf["sphinx_gallery_conf"]["binder"]
    assert (binder["org"], binder["repo"], binder["branch"]) == ("someone", "course", "gh-pages")
    assert all((ROOT / "docs" / path).is_file() for path in binder["dependencies"])
    assert conf["hosting_notebooks"].endswith("/github/someone/course/blob/gh-pages/notebooks")
    assert "git+https://github.com/someone/course" in conf["sphinx_gallery_conf"]["first_notebook_cell"]


def test_notebooks_install_the_wheel_of_the_site(monkeypatch):
    address = "https://owner.github.io/name"
    conf = configured(monkeypatch, ASRSCOPE_SITE_URL=address, ASRSCOPE_REPOSITORY="")
    cell = conf["sphinx_gallery_conf"]["first_notebook_cell"]
    assert f'%pip install --quiet "{address}/package/{conf["wheel_name"]}"' in cell
    conf = configured(monkeypatch, ASRSCOPE_SITE_URL="", ASRSCOPE_REPOSITORY="")
    assert (
        f'%pip install --quiet "{conf["wheel_name"]}"' in conf["sphinx_gallery_conf"]["first_notebook_cell"]
    )


PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "mini"
version = "1"
requires-python = ">=3.11"
readme = "README.md"
[tool.hatch.build.targets.wheel]
packages = ["src/mini"]
"""
WHEEL_CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["stale", "distribution", "hosting", "myst_parser"]
stale_sources = ["../src"]
wheel_name = "mini-1-py3-none-any.whl"
wheel_address, wheel_repository = {address!r}, {repository!r}
html_baseurl = ""
sphinx_gallery_conf = {{"examples_dirs": [], "gallery_dirs": []}}

def setup(app):
    app.add_config_value("sphinx_gallery_conf", {{}}, "")
"""


def installation(root: Path, address: str = "", repository: str = "") -> str:
    """Build a site with one page on how to install, and return the page."""
    conf = WHEEL_CONF.format(extensions=str(EXTENSIONS), address=address, repository=repository)
    (root / "conf" / "conf.py").write_text(conf, encoding="utf-8")
    command = ["-m", "sphinx", "-q", "-W", "-b", "html", "-c", "conf", "-d", "doctrees", "docs", "site"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600"}
    subprocess.run([sys.executable, *command], cwd=root, env=environment, check=True)
    page = (root / "site" / "deep" / "install.html").read_text(encoding="utf-8")
    return re.sub(r"<span[^>]*>|</span>", "", page)


def test_the_package_of_the_build_is_given_away_with_its_hash(tmp_path):
    pages = {
        "index": "# Mini\n\n```{toctree}\ndeep/install\n```\n",
        "deep/install": "# Install\n\n```{wheel}\n```\n",
    }
    files = {f"docs/{name}.md": text for name, text in pages.items()}
    files |= {"src/mini/__init__.py": "", "pyproject.toml": PROJECT, "README.md": "One", "LICENSE": "Free"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "conf").mkdir()
    wheel = tmp_path / "site" / "package" / "mini-1-py3-none-any.whl"
    page = installation(tmp_path)
    first = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert 'href="../package/mini-1-py3-none-any.whl"' in page
    assert "python -m pip install mini-1-py3-none-any.whl\n" in page
    assert first in page
    assert "git+" not in page
    assert (tmp_path / "site" / "SHA256SUMS").read_text("utf-8") == f"{first}  package/{wheel.name}\n"
    made = wheel.stat().st_mtime_ns
    address, repository = (
        f"https://owner.github.io/name/package/{wheel.name}",
        "https://github.com/owner/name",
    )
    page = installation(tmp_path, address, repository)
    assert wheel.stat().st_mtime_ns == made  # of the same sources
    assert f"{address}#sha256={first}" in page
    assert f"pip install git+{repository}\n" in page
    (tmp_path / "README.md").write_text("Two", encoding="utf-8")
    page = installation(tmp_path, address, repository)
    second = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert second != first
    assert f"{address}#sha256={second}" in page


def test_without_a_repository_nothing_leads_to_one(monkeypatch):
    conf = configured(monkeypatch, ASRSCOPE_REPOSITORY="")
    assert conf["sphinx_gallery_conf"]["binder"] == {}
    assert "hosting_notebooks" not in conf


def test_an_address_that_colab_cannot_read_is_refused(monkeypatch):
    told = r"like https://github\.com/owner/name, but found 'https://example\.org/x'"
    with pytest.raises(Exception, match=told):
        configured(monkeypatch, ASRSCOPE_REPOSITORY="https://example.org/x")


def test_a_changed_choice_of_model_runs_the_scripts_again(monkeypatch):
    from asrscope.loading import ENVIRONMENT, MODEL

    prefixes = tuple(configured(monkeypatch)["stale_variables"])
    assert all(name.startswith(prefixes) for name in (MODEL, *ENVIRONMENT.values()))


def test_the_picture_of_the_site_has_the_size_that_pages_state(monkeypatch):
    conf = configured(monkeypatch, ASRSCOPE_SITE_URL="https://owner.github.io/name")
    stated = re.findall(r'content="(\d+)"', " ".join(conf["ogp_custom_meta_tags"]))
    assert conf["ogp_image"] == "_static/card.png"
    with Image.open(ROOT / "conf" / "static" / "card.png") as picture:
        assert [str(side) for side in picture.size] == stated


def test_every_download_is_listed_with_its_hash(site):
    lines = (site / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    files = [path for path in (site / "_downloads").rglob("*") if path.is_file()]
    assert len(lines) == len(files) == 1
    digest, name = lines[0].split("  ")
    assert (site / name).read_text(encoding="utf-8") == "given away"
    assert digest == hashlib.sha256(b"given away").hexdigest()
    assert subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=site, check=True, stdout=subprocess.DEVNULL
    )


def test_search_engines_are_let_in_and_led_to_every_page(site):
    robots = (site / "robots.txt").read_text(encoding="utf-8")
    assert "Disallow" not in robots
    assert "Sitemap: https://owner.github.io/name/sitemap.xml\n" in robots
    listed = re.findall(r"<loc>(.*?)</loc>", (site / "sitemap.xml").read_text(encoding="utf-8"))
    names = {"index", "bad", "deep/er/page", "gallery/10_script", "long"}
    assert set(listed) == {f"https://owner.github.io/name/{name}.html" for name in names}
    page = (site / "deep" / "er" / "page.html").read_text(encoding="utf-8")
    assert '<link rel="canonical" href="https://owner.github.io/name/deep/er/page.html">' in page


def test_each_page_leads_to_what_it_is_written_in(site):
    sources = {"index": "docs/index.md", "gallery/10_script": "docs/scripts/10_script.py"}
    for page, source in sources.items():
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        assert f'href="https://github.com/owner/name/edit/main/{source}"' in text
        assert f'href="https://github.com/owner/name/blob/main/{source}' in text
    assert "/edit/main/" not in (site / "search.html").read_text(encoding="utf-8")


def test_the_page_for_lost_readers_works_at_any_depth(browser, site, tmp_path):
    """As GitHub Pages serves it: below a folder, for whatever address, with status 404."""
    from pages import served

    (tmp_path / "name").symlink_to(site)
    with served(tmp_path) as server:
        page = browser.new_page()
        text = (site / "404.html").read_text(encoding="utf-8")
        page.route("**/lost/**", lambda route: route.fulfill(status=404, content_type="text/html", body=text))
        failed = []
        page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        address = f"{server}name/lost/in/the/deep.html"
        page.goto(address)
        assert failed == [address]
        assert page.evaluate("document.styleSheets.length") > 1
        page.locator(".sidebar-tree a").first.click()
        page.wait_for_url("**/name/deep/er/page.html")
        page.close()


def test_icons_have_their_sizes():
    static = ROOT / "conf" / "static"
    for size in (32, 180):
        with Image.open(static / f"icon-{size}.png") as picture:
            assert picture.size == (size, size)
            assert len(picture.convert("RGB").getcolors(10_000)) > 3
    template = (ROOT / "conf" / "templates" / "base.html").read_text(encoding="utf-8")
    assert re.findall(r"icon-(\d+)\.png", template) == ["32", "180"]


def test_the_workflow_publishes_in_a_job_that_runs_no_code_of_others():
    text = (ROOT / ".github" / "workflows" / "pages.yml").read_text(encoding="utf-8")
    assert re.findall(r"uses: (\S+)", text)
    assert all(
        re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", used) for used in re.findall(r"uses: (\S+)", text)
    )
    build, publish = text.split("  publish:\n")
    assert "contents: write" not in build
    assert not re.search(r"pip|nox|python", publish)
