"""How Sphinx makes the site from the notebooks. Nothing is executed. `python3 tasks.py site` calls it."""

import html
import json
import os

from docutils import nodes
from myst_nb.core.render import NbElementRenderer

from web import pages

project = "Positional encodings, measured"
extensions = ["myst_nb"]
root_doc = "README"
exclude_patterns = ["web"]
html_title = project
html_theme = "sphinx_book_theme"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"type": "module"})]
html_favicon = "static/favicon.svg"
html_context = {"default_mode": "light"}
html_theme_options = {
    "show_toc_level": 2,
    "show_navbar_depth": 1,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "navbar_persistent": [],
    "back_to_top_button": False,
    "footer_content_items": [],
    "secondary_sidebar_items": ["page-toc.html"],
}
html_sidebars = {"**": ["navbar-logo.html", "search-button-field.html", "sbt-sidebar-nav.html"]}
html_use_index = False
highlight_language = "none"  # of fences without a language; cells of notebooks say theirs
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_last_updated_fmt = None
nb_execution_mode = "off"
nb_output_stderr = "show"
nb_code_prompt_show = nb_code_prompt_hide = "Preparation (code)"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
myst_heading_slug_func = "web.pages.slug"
mathjax_path = "mathjax/tex-chtml.js"
mathjax_config_path = "mathjax.js"
suppress_warnings = ["mystnb.unknown_mime_type"]  # plotly bundles fall back to their picture

plain_image = NbElementRenderer.render_image


def image_with_alternative_text(self, data):
    """A picture with the alternative text and the name that the notebook stored.

    It stands in a frame, "#fig-NAME". The frame of an explorable has what site.js needs to bring it to life.
    """
    found = plain_image(self, data)
    for node in found:
        node["alt"] = data.output_metadata.get("image/png", {}).get("alt", "")
    frame = f'<div class="picture" id="fig-{data.output_metadata["figure"]}"'
    if live := data.output_metadata.get("explorable"):
        state = json.dumps({**live["state"], "dials": live["dials"]}, ensure_ascii=False)
        frame += f' data-explorable="{live["module"]}" data-model="{html.escape(state)}"'
    return [nodes.raw("", f"{frame}>", format="html"), *found, nodes.raw("", "</div>", format="html")]


NbElementRenderer.render_image = image_with_alternative_text


def prepare(app, name, source):
    known = {str(app.project.doc2path(page, False)) for page in app.project.docnames}
    make = pages.notebook if source[0].startswith("{") else pages.text
    source[0] = make(source[0], name, known, os.environ.get("COURSE_ADDRESS", ""))
    if name == root_doc:
        source[0] += pages.CONTENTS


def setup(app):
    app.connect("source-read", prepare)
