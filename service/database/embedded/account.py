"""The account that a server of our own runs as, since PostgreSQL refuses root."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from service.database.embedded.files import (
    EmbeddedError,
)

# Nothing else of our own environment (secrets, PG* variables) reaches the server.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


class Account(NamedTuple):
    """An account of the machine."""

    uid: int
    gid: int


def account_of(pgdata: Path) -> Account:
    """Whom the server runs as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if pgdata.exists():
        owner = pgdata.lstat()
        if owner.st_uid == 0:
            raise EmbeddedError(f"{pgdata} is root's, but PostgreSQL does not run as root.")
        return Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError("PostgreSQL does not run as root, and there is no account `nobody`.")


def wrapper_for(account: Account, bin_dir: Path, data_dir: Path) -> list[str]:
    """The first of `_wrappers` with which a program of bin_dir runs and data_dir can be entered."""
    probe = ("/bin/sh", "-c", 'cd "$0" && exec "$1" --version', data_dir, bin_dir / "initdb")
    said = ""
    for wrapper in _wrappers(account):
        done = subprocess.run(
            [*wrapper, *probe], cwd="/", env=ENVIRONMENT, capture_output=True, text=True
        )
        if done.returncode == 0:
            return wrapper
        said = done.stderr.strip()
    raise EmbeddedError(f"User {account.uid} cannot run {bin_dir} on {data_dir}: {said}")


def _wrappers(account: Account) -> Iterator[list[str]]:
    """Ways to start a program as an account that it ends with us, with the least rights first."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0:
        if setpriv:
            yield [setpriv, "--pdeathsig", "INT", "--"]
        # Without it (macOS) a server outlives us if we are killed, and must be stopped by hand.
        yield []
        return
    if not setpriv:
        raise EmbeddedError(
            "PostgreSQL does not run as root, and to leave root setpriv (util-linux) is missing: "
            "install it, or run the service as another user."
        )
    plain = [setpriv, f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    plain += ["--pdeathsig", "INT"]
    yield [*plain, "--"]
    # Data or programs lie in a folder closed to the account, such as /root. Without the securebit
    # access(2), by which PostgreSQL's programs look for each other, would ignore the capability.
    for right in ("dac_read_search", "dac_override"):
        rights = [f"--inh-caps=-all,+{right}", f"--ambient-caps=-all,+{right}"]
        yield [*plain, *rights, "--securebits=+no_setuid_fixup", "--"]


def make_private(folder: Path, account: Account) -> None:
    """Make a folder that only the account may enter; refuse one that someone else put there."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(opened).st_uid not in (account.uid, os.geteuid()):
            raise EmbeddedError(f"{folder} belongs to another user.")
        os.fchmod(opened, 0o700)
        os.fchown(opened, *account)
    finally:
        os.close(opened)
