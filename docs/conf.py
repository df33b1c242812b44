"""How Sphinx builds the documentation: Markdown pages, and the API from the docstrings."""

from __future__ import annotations

import segkit

project = "segkit"
author = "The segkit authors"
release = version = segkit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "py:obj"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "ImageLike", "LabelsLike", "Item", "Task", "Color")}
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"segkit {release}"
