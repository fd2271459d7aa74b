"""Settings of Sphinx for ``make docs``: the theme and the docstring style of pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes

import pdparallel  # adds the accessors that are documented here

project = "pdparallel"
author = "the maintainers of pdparallel"
release = pdparallel.__version__
extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
]
templates_path = [str(Path(__file__).parent / "_templates")]  # autosummary would look beside the pages
nitpicky = True
smartquotes = False

# Markdown, and notebooks with their stored outputs
myst_heading_anchors = 4
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence"]

# Docstrings
autosummary_generate = True
# Some file systems ignore case, so "profile" and "Profile" need two names.
autosummary_filename_map = {"pdparallel.profile": "pdparallel.profile-function"}
autodoc_typehints = "none"  # the sections of numpydoc describe them; a method has up to seven overloads
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
_PANDAS = ("DataFrame", "Series", "Index")
numpydoc_xref_aliases = {name: f":class:`~pandas.{name}`" for name in _PANDAS} | {
    name: f"pdparallel.{name}" for name in pdparallel.__all__ if name[0].isupper()
}

# Pages
html_theme = "pydata_sphinx_theme"
html_title = "pdparallel"
html_static_path = ["_static"]
html_css_files = ["pdparallel.css"]
#: Pages without others below them have no list of pages.
html_sidebars: dict[str, list[str]] = {page: [] for page in ("index", "tutorial", "CONTRIBUTING", "CHANGELOG")}
html_context = {"default_mode": "auto"}
html_copy_source = html_show_sourcelink = False
#: Pages without a list of their sections: the landing page, and pages with wide tables.
_WIDE = (
    "index",
    "explanation/benchmarks",
    "explanation/guarantees",
    "explanation/why-exactness-is-hard",
)
html_theme_options: dict[str, Any] = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": {"**": ["page-toc"]} | dict.fromkeys(_WIDE, ()),
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
copyright = "the maintainers, BSD-3-Clause"
# The copy button copies only the input of a session, and only the commands for a shell. A line "..." becomes the empty
# line that ends a function in the interpreter.
copybutton_prompt_text = r">>> |\.\.\. ?|\$ "
copybutton_prompt_is_regexp = True
copybutton_copy_empty_lines = False

#: Documentation of other packages. sphinx.ext.intersphinx would need the network for each build.
_ELSEWHERE = {
    "pandas": "https://pandas.pydata.org/docs/reference/api/{name}.html",
    "concurrent": "https://docs.python.org/3/library/concurrent.futures.html#{name}",
    "collections": "https://docs.python.org/3/library/collections.abc.html#{name}",
    "logging": "https://docs.python.org/3/library/logging.html#{name}",
    "multiprocessing": "https://docs.python.org/3/library/multiprocessing.html#module-{name}",
    "numpy": "https://numpy.org/doc/stable/reference/generated/{name}.html",
}


def _elsewhere(app: Any, env: Any, node: Any, content: nodes.Node) -> nodes.Node | None:
    """Link to the documentation of another package. A missing name of ours stays an error."""
    target = node.get("reftarget", "")
    if target.startswith("python:"):
        # numpydoc would link "int" and other builtins. Readers know them.
        return nodes.inline("", content.astext().removeprefix("python:").removesuffix("()"))
    url = _ELSEWHERE.get(target.split(".")[0])
    if url is None or node.get("refdomain") != "py" or ".par" in target:
        return None
    return nodes.reference("", "", content, refuri=url.format(name=target), internal=False)


def setup(app: Any) -> None:
    """Connect the function to Sphinx."""
    app.connect("missing-reference", _elsewhere)
