"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "ogive"
author = "The ogive developers"
project_copyright = author
release = installed_version("ogive")
version = release.split(".dev")[0]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "mathml",
    "pages",
]
exclude_patterns = ["_build", "report", "slides", "**.ipynb_checkpoints"]

# ---- pages ---------------------------------------------------------------------------------------

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
# Links lead to files of the repository (`../examples/demo.py`): these are offered for download.
myst_all_links_external = False
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = "$ "

# ---- tutorials -----------------------------------------------------------------------------------

nb_execution_mode = "cache"
nb_execution_timeout = 900
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_execution_show_tb = True

# ---- reference -----------------------------------------------------------------------------------

default_role = "py:obj"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = False
napoleon_google_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_display_short_literal_types = True

# ---- how it looks --------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "ogive"
html_static_path = ["_static"]
html_css_files = ["ogive.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
# Pages without others below them need no list of them.
_ALONE = (
    "index", "getting-started", "choosing", "conventions", "coming-from", "contributing",
    "changelog", "bibliography",
)  # fmt: skip
html_sidebars: dict[str, list[str]] = {page: [] for page in _ALONE}
html_theme_options = {
    "logo": {"text": "ogive"},
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}

# ---- links (`make docs-links`) -------------------------------------------------------------------

linkcheck_anchors = False
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_workers = 4
# Publishers answer programs with 403, whatever lies there; doi.org itself says where it leads.
linkcheck_allow_unauthorized = True
linkcheck_allowed_redirects = {r"https://doi\.org/.*": r".*"}
linkcheck_ignore = [r"http://127\.0\.0\.1.*"]
