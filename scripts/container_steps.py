"""Do what the Dockerfile says on a clean root: for machines without a container engine.

    python -m scripts.container_steps FOLDER [argument of the entry point …]

Each stage has a root of its own below FOLDER, seen through chroot in a mount namespace: the steps run at their own
paths, as their own user, and find of this machine only its system libraries and, as ``/usr/local``, this Python: no
Java, no home. Needs Linux and root. Not shown by it: the base image itself, and whatever only an engine does.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# What names are looked up in, servers are reached and trusted by, and pip and useradd read.
_ETC = ("ssl", "ca-certificates", "hosts", "nsswitch.conf", "resolv.conf", "ld.so.conf", "ld.so.conf.d", "login.defs",
        "localtime", "pip.conf", "xdg/pip")  # fmt: skip
_GIVEN = re.compile(r"PIP_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|\w+_proxy", re.IGNORECASE)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Instruction and argument, with continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


@dataclass
class Image:
    """A root with what the instructions said of it."""

    root: Path
    folder: str = "/"
    user: str = "0"
    entry: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin"})

    def run(
        self, command: Sequence[str], volumes: Iterable[Path] = (), check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command inside, as the image's user.

        Args:
            volumes: folders of this machine that are seen inside, at the same paths.
            options: for ``subprocess.run``.
        """
        for volume in volumes:
            self.at(str(volume)).mkdir(parents=True, exist_ok=True)
        enter = ["chroot", f"--userspec={self.user}:{self.user}", str(self.root), "env", "-C", self.folder]
        steps = [*_mounts(self.root, volumes), shlex.join([*enter, *command])]
        call = ["unshare", "--mount", "--fork", "--kill-child", "bash", "-euc", "\n".join(steps)]
        return subprocess.run(call, env=self.environment, check=check, **options)

    def at(self, path: str) -> Path:
        """Where a path of the image is on this machine."""
        return self.root / str(Path(self.folder) / path).lstrip("/")


def build(text: str, folder: Path) -> Image:
    """Do the steps; returns the last stage.

    Raises:
        subprocess.CalledProcessError: a step failed.
        ValueError: an instruction that is not known here.
    """
    stages: dict[str, Image] = {}
    for word, rest in instructions(text):
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "image"
            image = stages[name] = clean_root(folder / name)
        elif word == "WORKDIR":
            image.folder = rest
            image.at(rest).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            _copy(rest, image, stages)
        elif word == "RUN":
            given = {k: v for k, v in os.environ.items() if _GIVEN.fullmatch(k)}
            building = Image(image.root, image.folder, image.user, [], {**given, **image.environment})
            building.run(["bash", "-euc", rest])
        elif word == "ENV":
            for name, value in (part.split("=", 1) for part in shlex.split(rest)):
                image.environment[name] = value.replace("$PATH", image.environment["PATH"])
        elif word == "USER":
            image.user = rest
        elif word == "ENTRYPOINT":
            image.entry = re.findall(r'"([^"]*)"', rest)
        else:
            raise ValueError(f"{word}: expected one of the instructions that are carried out here.")
    return image


def clean_root(root: Path) -> Image:
    """A root with the system of this machine and this Python, and with nothing else."""
    for place in ("usr", "dev", "proc", "root", "opt", "var", "run", "tmp", "etc"):
        (root / place).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for link in ("bin", "sbin", "lib", "lib64"):
        if Path("/", link).is_symlink():
            (root / link).symlink_to(os.readlink(f"/{link}"))
    for name in _ETC:
        here, there = Path("/etc", name), root / "etc" / name
        there.parent.mkdir(exist_ok=True)
        if here.is_dir():
            shutil.copytree(here, there, symlinks=True)
        elif here.exists():
            shutil.copy(here, there)
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    image = Image(root)
    image.run(["ldconfig"])  # this Python's library is found where it is now
    return image


def _mounts(root: Path, volumes: Iterable[Path]) -> Iterator[str]:
    """Shell lines that show this machine's system below a root; they are gone with their namespace."""
    places: Mapping[Path, Path] = {
        Path("/usr"): root / "usr", Path("/dev"): root / "dev", Path("/proc"): root / "proc"
    }  # fmt: skip
    yield "mount --make-rprivate /"
    for here, there in places.items():
        yield f"mount --rbind {here} {shlex.quote(str(there))}"
    yield f"mount -o remount,bind,ro {shlex.quote(str(root / 'usr'))}"
    if Path(sys.base_prefix) not in (Path("/usr"), Path("/usr/local")):
        local = shlex.quote(str(root / "usr" / "local"))
        yield f"mount --bind {shlex.quote(sys.base_prefix)} {local} && mount -o remount,bind,ro {local}"
    if Path("/usr/lib/jvm").exists():
        yield f"mount -t tmpfs none {shlex.quote(str(root / 'usr' / 'lib' / 'jvm'))}"
    for volume in volumes:
        yield f"mount --bind {shlex.quote(str(volume))} {shlex.quote(f'{root}{volume}')}"


def _copy(argument: str, image: Image, stages: Mapping[str, Image]) -> None:
    """COPY; what comes from another stage is moved, as nobody asks for it there again."""
    *sources, target = (part for part in argument.split() if not part.startswith("--"))
    if stage := re.match(r"--from=(\w+)", argument):
        shutil.move(stages[stage[1]].at(sources[0]), image.at(target))
        return
    for source in sources:
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, image.at(target), ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / source, image.at(target))


def main() -> None:
    """Carry the steps out below the folder that is given; with more arguments, start the entry point with them."""
    folder = Path(sys.argv[1]).resolve()
    image = build((ROOT / "Dockerfile").read_text("utf-8"), folder)
    print(f"container steps: done, the image is {image.root}, its entry point {image.entry}")
    if arguments := sys.argv[2:]:
        sys.exit(image.run([*image.entry, *arguments], check=False).returncode)


if __name__ == "__main__":
    if os.geteuid() or shutil.which("unshare") is None or len(sys.argv) < 2:
        sys.exit("usage, on Linux and as root: python -m scripts.container_steps FOLDER [argument …]")
    main()
