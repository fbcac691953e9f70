"""Run notebooks from top to bottom and keep their output: `python notebooks/_execute.py notebooks/*.ipynb`.

A notebook that fails, writes of this machine (paths, host name) or grows beyond 2 MB is left as it was. What was run is
kept as a hash, so that a test can tell whether the output is that of the code beside it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from pathlib import Path

MAX_BYTES = 2_000_000


def main(paths: list[str]) -> None:
    """Run each notebook in its own folder."""
    import nbformat  # here, so that tests have the hash without what runs notebooks
    from nbclient import NotebookClient

    os.environ["TQDM_DISABLE"] = "1"  # a bar that was drawn once says nothing to a reader
    for path in map(Path, paths):
        start = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        NotebookClient(
            notebook, timeout=900, record_timing=False, resources={"metadata": {"path": str(path.parent)}}
        ).execute()
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "omicsfm": {"code_sha256": code_hash([c.source for c in notebook.cells if c.cell_type == "code"])},
        }
        text = nbformat.writes(notebook) + "\n"
        found = [word for word in _private() if word in text]
        if found or len(text.encode()) > MAX_BYTES:
            sys.exit(f"{path}: not written: {len(text.encode()):,} bytes, names {found}")
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
        print(f"{path}: {len(text.encode()):,} bytes, {time.perf_counter() - start:.0f} s")


def code_hash(sources: list[str]) -> str:
    """Hash the code of all cells."""
    return hashlib.sha256("\n\n".join(sources).encode()).hexdigest()


def _private() -> list[str]:
    """Names of this machine that must not stand in a notebook."""
    root = Path(__file__).resolve().parents[1]
    return [name for name in {str(root), str(Path.home()) + os.sep, sys.prefix, platform.node()} if len(name) > 4]


if __name__ == "__main__":
    main(sys.argv[1:])
