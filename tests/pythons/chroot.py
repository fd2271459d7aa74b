"""Chroot: Pythons that this machine has not, from the packages of Debian's unstable distribution.

It needs root, Debian or one of its children, and ``debootstrap``. What is mounted in the folder is mounted in a
namespace of the command that runs there, and is gone when that ends: the folder can be removed like any other.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

VERSIONS = ("3.13", "3.14", "3.15")

#: What is seen inside at the same place as outside: the sources, and what pip's configuration may name.
SHARED = (Path(__file__).parents[2], Path("/opt"))

#: What pip and TLS read, outside and inside.
CONFIGURATION = (
    "/etc/pip.conf", "/etc/xdg/pip", "/root/.config/pip", "/etc/resolv.conf", "/etc/hosts",
    "/etc/ssl/certs/ca-certificates.crt",
)  # fmt: skip

_KEPT_VARIABLES = re.compile("PIP_|SSL_CERT_|REQUESTS_CA_BUNDLE$|CURL_CA_BUNDLE$|(HTTPS?|NO)_PROXY$", re.IGNORECASE)

#: Mounts what the sources of a program need, and becomes the program.
_ENTER = """
set -e
root=$1 here=$2; shift 2
mount -t proc proc "$root/proc"; mount --rbind /sys "$root/sys"; mount --rbind /dev "$root/dev"
for folder in $SHARED; do mkdir -p "$root$folder"; mount --rbind "$folder" "$root$folder"; done
exec chroot "$root" sh -c 'cd "$0" && exec "$@"' "$here" "$@"
"""


class Chroot:
    """A folder with Debian's Pythons in it.

    Parameters
    ----------
    folder : path
        Where it is, or is to be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def cannot_be_had(self) -> str | None:
        """Why not, in words; None where it can."""
        if (self.folder / "made").exists():
            return None
        if not hasattr(os, "geteuid") or os.geteuid():
            return "it is not on this machine, and to install it in a chroot takes root"
        missing = [name for name in ("debootstrap", "unshare", "chroot") if shutil.which(name) is None]
        return f"it is not on this machine, and to install it in a chroot takes {missing[0]}" if missing else None

    def make(self) -> None:
        """Install the Pythons, unless that was done before.

        Raises
        ------
        RuntimeError
            Says what ``debootstrap`` said last.
        """
        if (self.folder / "made").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        packages = ["ca-certificates", *(f"python{version}{more}" for version in VERSIONS for more in ("", "-venv"))]
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", "sid", str(self.folder)]
        said = subprocess.run([*command, *_mirror()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if said.returncode:
            raise RuntimeError(f"debootstrap said: {said.stdout.strip().splitlines()[-1]}")
        for name in CONFIGURATION:
            inside = self.folder / name.lstrip("/")
            inside.parent.mkdir(parents=True, exist_ok=True)
            if Path(name).is_dir():
                shutil.copytree(name, inside, dirs_exist_ok=True)
            elif Path(name).exists():
                inside.unlink(missing_ok=True)
                shutil.copy(name, inside)
        (self.folder / "made").touch()

    def inside(self, command: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
        """The command that runs a command inside, and its environment.

        Parameters
        ----------
        command : sequence of str
            As it is said inside.
        env : mapping
            What it needs, beside how to reach the index of packages.
        """
        kept = {name: value for name, value in os.environ.items() if _KEPT_VARIABLES.match(name)}
        plain = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb",
            "SHARED": " ".join(str(path) for path in SHARED if path.is_dir()),
        }  # fmt: skip
        enter = ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(self.folder), os.getcwd()]
        return [*enter, *command], {**kept, **plain, **env}


def compile_free_threaded(folder: Path) -> Path:
    """Compile CPython 3.13 without the GIL from Debian's source package; returns the interpreter.

    Raises
    ------
    RuntimeError
        Says which step failed, and what it said last.
    """
    python = folder / "installed" / "bin" / "python3.13t"
    if python.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "lists" / "partial").mkdir(parents=True)
    signed = next(iter(sorted(Path("/usr/share/keyrings").glob("debian-archive-keyring*"))), "")
    mirror = (_mirror() or ["http://deb.debian.org/debian"])[0]
    (folder / "sources.list").write_text(f"deb-src [signed-by={signed}] {mirror} trixie main\n")
    apt = [
        "apt-get", "-qq", "-o", f"Dir::Etc::sourcelist={folder}/sources.list", "-o", "Dir::Etc::sourceparts=-",
        "-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}", "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
    _step(folder, *apt, "update")
    _step(folder, *apt, "source", "--download-only", "python3.13")
    _step(folder, "tar", "xf", str(next(folder.glob("python3.13_*.orig.tar.xz"))))
    source = next(folder.glob("Python-3.13*"))
    _step(source, "./configure", "--quiet", "--disable-gil", "--disable-test-modules", f"--prefix={folder}/installed")
    # It compiles in a third of the time, and no test asks for speed.
    _step(source, "make", f"-j{os.cpu_count()}", "OPT=-DNDEBUG -O1")
    _step(source, "make", "install", "OPT=-DNDEBUG -O1")
    return python


def _step(folder: Path, *command: str) -> None:
    said = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if said.returncode:
        last = (said.stdout.strip().splitlines() or ["nothing"])[-1]
        raise RuntimeError(f"{command[0]} {command[-1]} ended with exit code {said.returncode} and said: {last}")


def _mirror() -> list[str]:
    """Return the address of this machine's packages, if a file of apt names it."""
    for sources in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        if sources.exists() and (
            address := re.search(r"^(?:URIs:|deb .*?)\s*(https?://\S+)", sources.read_text(), re.MULTILINE)
        ):
            return [address[1]]
    return []
