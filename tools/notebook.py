"""The one form in which notebooks are saved, and what should not stand in one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .common import Stop
from .project import code_cells

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}


def read(path: Path) -> Any:
    """A notebook as an nbformat node; Stop if the file is none."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise Stop(f"{path} is missing. To get it back: git -C {path.parent} checkout -- {path.name}") from None
    except (ValueError, nbformat.ValidationError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = f"To get the last one back: git -C {path.parent} checkout -- {path.name}"
        raise Stop(f"{path} is not a notebook ({first}). {remedy}") from None


def canonical(notebook: Any) -> str:
    """The text of a notebook as it is saved: no timings, no widget state, few metadata."""
    import nbformat

    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        kept = {key: value for key, value in cell.metadata.items() if key in ("tags", "jupyter") and value}
        cell.metadata = nbformat.from_dict(kept)
        for output in cell.get("outputs", []):
            output.pop("transient", None)
    text = nbformat.writes(notebook, version=nbformat.NO_CONVERT)
    return text if text.endswith("\n") else text + "\n"


def doubtful(notebook: dict[str, Any]) -> list[str]:
    """Outputs that will differ next time or on another machine, by cell."""
    found = []
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            data = output.get("data", {})
            shown = "".join(output.get("text", "")) + "".join(data.get("text/plain", ""))
            if output.get("name") == "stderr":
                found.append(f"cell {cell['id']} wrote to stderr: {shown.strip()[:80]}")
            elif re.search(r"\b0x[0-9a-f]{6,}", shown):
                found.append(f"cell {cell['id']} shows an object's address: {shown.strip()[:80]}")
            elif "image/png" in data and "figure" not in output["metadata"]:
                found.append(f"cell {cell['id']} shows a picture without helpers.show")
    return found
