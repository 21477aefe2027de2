"""Removes files that no program opens from an environment: `python slim.py /opt/vigie`, while an image is built.

Whole folders that packages ship beside their code, named below one by one. A package that is not installed is skipped;
one that is, but has no such folder, is an error, so that the lists keep up with the packages.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

TESTED = ("fsspec", "joblib", "numpy", "onnx", "pandas", "pyarrow", "regex", "scipy", "sklearn", "statsmodels")
"""Packages whose folders `tests` and `test` hold nothing but their own tests. (Evidently's are part of its code.)"""
HEADERS = ("numpy/_core/include", "pyarrow/include")
"""Files that only a compiler reads."""
COPIES = ("evidently", "share/jupyter", "etc/jupyter")
"""A second copy of Evidently UI's pages, and plotly for Jupyter, which is not installed."""


def main(environment: Path) -> int:
    """Remove them and print the sizes before and after; 1 and a line on standard error where a list is out of date."""
    before = size(environment)
    for name, folders in targets(environment):
        if not folders:
            sys.stderr.write(f"slim.py: {name} is no longer there; bring the lists up to date\n")
            return 1
        for folder in folders:
            shutil.rmtree(folder)
    sys.stdout.write(f"{before / 1e6:.0f} MB, now {size(environment) / 1e6:.0f} MB\n")
    return 0


def targets(environment: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each name of the lists with its folders; of nested ones the outermost."""
    packages = next(environment.glob("lib/python3*/site-packages"))
    for package in TESTED:
        if (packages / package).is_dir():
            found = {path for name in ("tests", "test") for path in (packages / package).rglob(name) if path.is_dir()}
            yield f"{package}'s tests", [path for path in found if not found & set(path.parents)]
    for name in HEADERS:
        if (packages / name.split("/", maxsplit=1)[0]).is_dir():
            yield name, [packages / name] if (packages / name).is_dir() else []
    for name in (*COPIES, (packages / "jupyterlab_plotly").relative_to(environment)):
        yield str(name), [environment / name] if (environment / name).is_dir() else []


def size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
