"""Images that can be pulled, and which program a container runs.

Law: any image exists and runs for ever unless the test says otherwise.  The nearest word wins: one
about a container in a pod before one about a pod, before one about an image; among equals an exact
name before a pattern, a longer pattern before a shorter one, and the later before the earlier.

Image names are compared as references: `nginx`, `nginx:latest` and `docker.io/library/nginx` are
one; a pattern without tag or digest speaks of all tags.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from pytest_kubesim.cri.flavours import Flavour
from pytest_kubesim.cri.programs import Main, Program, as_program
from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from pytest_kubesim.cri.container import Container

V = TypeVar("V")

_DEFAULT = Program()


@attrs.frozen(slots=True)
class Reference:
    """An image's name taken apart; `tag` is `latest` where neither tag nor digest is given."""

    registry: str
    path: str
    tag: str
    digest: str

    @property
    def repository(self) -> str:
        """Registry and path."""
        return f"{self.registry}/{self.path}"

    @property
    def full(self) -> str:
        """The whole name, as containerd spells it."""
        if self.digest:
            return f"{self.repository}@{self.digest}"
        return f"{self.repository}:{self.tag}"

    @property
    def short(self) -> str:
        """The repository as Docker spells it."""
        if self.registry != "docker.io":
            return self.repository
        return self.path.removeprefix("library/")


_references: dict[str, Reference] = {}


def parse(image: str) -> Reference:
    """Takes an image's name apart, as `distribution/reference` does."""
    found = _references.get(image)
    if found is None:
        if len(_references) > 10_000:
            _references.clear()
        found = _references[image] = _parse(image)
    return found


def _parse(image: str) -> Reference:
    name, _, digest = image.partition("@")
    tag = ""
    head, colon, last = name.rpartition(":")
    if colon and "/" not in last:
        name, tag = head, last
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, path = first, rest
    else:
        registry, path = "docker.io", name
    if registry in ("docker.io", "index.docker.io"):
        registry = "docker.io"
        if "/" not in path:
            path = f"library/{path}"
    return Reference(registry, path, tag or ("" if digest else "latest"), digest)


_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REFERENCE = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?/{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::\w[\w.-]{0,127})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def problem_of(image: str) -> str:
    """Why that is no image's name, in the words of `distribution/reference`; empty if it is one."""
    if re.fullmatch("[a-f0-9]{64}", image):
        return (
            f"invalid repository name ({image}), cannot specify 64-byte hexadecimal strings"
        )
    first, slash, rest = image.partition("/")
    domain, remote = "docker.io", image
    if slash and (first == "localhost" or set(".:") & set(first) or first.lower() != first):
        domain, remote = first, rest
    if domain in ("docker.io", "index.docker.io") and "/" not in remote:
        remote = f"library/{remote}"
    name = remote.partition(":")[0]
    if name.lower() != name:
        return f"invalid reference format: repository name ({name}) must be lowercase"
    return "" if _REFERENCE.fullmatch(f"{domain}/{remote}") else "invalid reference format"


def with_tag(image: str) -> str:
    """The image as the kubelet asks for it: with `:latest` where it has neither tag nor digest."""
    reference = parse(image)
    if reference.digest or image.endswith(f":{reference.tag}"):
        return image
    return f"{image}:{reference.tag}"


def digest_of(image: str) -> str:
    """The digest under which a registry knows the image: the same for equal references."""
    reference = parse(image)
    return reference.digest or f"sha256:{sha256(reference.full.encode()).hexdigest()}"


def size_of(image: str) -> int:
    """The size of the image in bytes, between 5 and 150 MB: the same for equal references."""
    seed = sha256(digest_of(image).encode()).digest()
    return 5_000_000 + int.from_bytes(seed[:6], "big") % 145_000_000


def _variants(reference: Reference) -> tuple[str, ...]:
    names = [reference.full, reference.repository]
    if reference.registry == "docker.io":
        names += [reference.short, reference.path]
        if reference.tag:
            names += [f"{reference.short}:{reference.tag}", f"{reference.path}:{reference.tag}"]
    return tuple(names)


class Patterns(MutableMapping[str, V], Generic[V]):
    """Values by exact name or glob pattern; the nearest match is found, not the first."""

    def __init__(self) -> None:
        self._exact: dict[str, tuple[int, V]] = {}
        self._globs: dict[str, tuple[int, V]] = {}
        self._count = 0

    def __setitem__(self, pattern: str, value: V) -> None:
        self._count += 1
        self._home(pattern)[pattern] = (self._count, value)

    def __getitem__(self, pattern: str) -> V:
        return self._home(pattern)[pattern][1]

    def __delitem__(self, pattern: str) -> None:
        del self._home(pattern)[pattern]

    def __iter__(self) -> Iterator[str]:
        yield from self._exact
        yield from self._globs

    def __len__(self) -> int:
        return len(self._exact) + len(self._globs)

    def __bool__(self) -> bool:
        return bool(self._exact or self._globs)

    def _home(self, pattern: str) -> dict[str, tuple[int, V]]:
        return self._globs if any(c in pattern for c in "*?[") else self._exact

    def find(self, *names: str) -> V | None:
        """The value of the nearest match to any of `names`, which all mean the same thing."""
        best: tuple[int, V] | None = None
        for name in names:
            entry = self._exact.get(name)
            if entry is not None and (best is None or entry[0] > best[0]):
                best = entry
        if best is not None or not self._globs:
            return None if best is None else best[1]
        rank: tuple[int, int] = (-1, -1)
        for pattern, (order, value) in self._globs.items():
            weight = (sum(c not in "*?[]" for c in pattern), order)
            if weight > rank and any(fnmatchcase(name, pattern) for name in names):
                rank, best = weight, (order, value)
        return None if best is None else best[1]


class Programs(Patterns[Program]):
    """Programs by pattern; takes callables as they are."""

    def __setitem__(self, pattern: str, value: Program | Main) -> None:
        super().__setitem__(pattern, as_program(value))


PULL_PROBLEMS = ("denied", "unreachable", "not_found")


@attrs.frozen(slots=True)
class PullError:
    """Why an image cannot be pulled: `kind` (`not_found`, `denied`, `unreachable`) or a text."""

    kind: str = ""
    text: str = ""

    def message(self, flavour: Flavour, image: str) -> str:
        """What that runtime says of it."""
        template = {
            "not_found": flavour.not_found,
            "denied": flavour.denied,
            "unreachable": flavour.unreachable,
        }.get(self.kind, flavour.unpack)
        reference = parse(image)
        return template.format(
            image=with_tag(image),
            full=reference.full,
            registry=reference.registry,
            path=reference.path,
            repository=reference.repository,
            short=reference.short,
            tag=reference.tag or reference.digest,
            problem=self.text,
        )


def pull_problem(problem: str) -> PullError:
    """What goes wrong with a pull: `denied`, `unreachable`, `not_found`, or a message.

    Raises: `UsageError` for a single word that is none of them: it is misspelt.
    """
    if problem in PULL_PROBLEMS:
        return PullError(problem)
    if len(problem.split()) < 2:
        raise UsageError(
            f"images: pull_error({problem!r}): there is no such problem;",
            f"{suggestion(problem, PULL_PROBLEMS)}there are: "
            f"{', '.join(map(repr, PULL_PROBLEMS))}; a message of your own has several words",
        )
    return PullError("", problem)


class Images(MutableMapping[str, Program]):
    """The registry of a cluster, and what its images do.

    ``images["my/job:1"] = exits(0, after="3s")`` speaks of an image (patterns allowed),
    ``images.pods["db-*"]`` of all containers of pods by name or `namespace/name`,
    ``images.containers["db-0/postgres"]`` of a container, by `container`, `pod/container` or
    `namespace/pod/container`.
    """

    def __init__(self) -> None:
        self._images = Programs()
        self.pods = Programs()
        self.containers = Programs()
        self._errors: Patterns[PullError | None] = Patterns()
        self._slow: Patterns[int] = Patterns()
        self.on_container: list[Callable[[Container], object]] = []
        """Called with every container that a runtime has made."""
        self.on_start: list[Callable[[Container], int]] = []
        """Asked how much longer, in nanoseconds, the start of a container takes."""
        self._on_trouble: list[Callable[[str], object]] = []
        self._software: dict[str, Program | None] = {}

    # -- the mapping --------------------------------------------------------------------------

    def __setitem__(self, pattern: str, value: Program | Main) -> None:
        self._images[pattern] = as_program(value)

    def __getitem__(self, pattern: str) -> Program:
        return self._images[pattern]

    def __delitem__(self, pattern: str) -> None:
        del self._images[pattern]

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)

    # -- what the test says of pulling --------------------------------------------------------

    def missing(self, pattern: str) -> None:
        """No registry has the image."""
        self._errors[pattern] = PullError("not_found")

    def pull_error(self, pattern: str, problem: str = "denied") -> None:
        """Pulling fails: `denied`, `unreachable`, `not_found`, or with a message of your own.

        Raises: `UsageError` for a single word that is none of them.
        """
        self._errors[pattern] = pull_problem(problem)

    def available(self, pattern: str) -> None:
        """Pulling works (again)."""
        self._errors[pattern] = None

    def slow(self, pattern: str, duration: Duration) -> None:
        """Pulling takes that long."""
        self._slow[pattern] = to_ns(duration)

    def forget_pulls(self, pattern: str) -> None:
        """Take back what was said of pulling by that very pattern."""
        for said in (self._errors, self._slow):
            if pattern in said:
                del said[pattern]

    @staticmethod
    def speaks_of(pattern: str, image: str) -> bool:
        """Whether a pattern speaks of an image."""
        said: Patterns[bool] = Patterns()
        said[pattern] = True
        return bool(said.find(image, *_variants(parse(image))))

    def on_trouble(self, listener: Callable[[str], object]) -> Callable[[], None]:
        """Call `listener(image)` when a pull fails or is slow as the test said; returns the end."""
        self._on_trouble.append(listener)
        return lambda: self._on_trouble.remove(listener)

    # -- what the runtime asks ----------------------------------------------------------------

    def program_for(self, image: str, namespace: str, pod: str, container: str) -> Program:
        """The program that such a container runs."""
        found = self.declared_for(image, namespace, pod, container)
        return found or self.software(image) or _DEFAULT

    def declared_for(
        self, image: str, namespace: str, pod: str, container: str
    ) -> Program | None:
        """What the test says that such a container runs, or None."""
        if self.containers:
            found = self.containers.find(
                f"{namespace}/{pod}/{container}", f"{pod}/{container}", container
            )
            if found is not None:
                return found
        if self.pods:
            found = self.pods.find(f"{namespace}/{pod}", pod)
            if found is not None:
                return found
        if self._images:
            return self._images.find(image, *_variants(parse(image)))
        return None

    def software(self, image: str) -> Program | None:
        """What is in a known image, found once for each name."""
        try:
            return self._software[image]
        except KeyError:
            from pytest_kubesim.cri.software import catalog

            found = self._software[image] = catalog.program_for(parse(image))
            return found

    def error_for(self, image: str) -> PullError | None:
        """Why the image cannot be pulled now, or None."""
        found = self._find(self._errors, image)
        if found is not None:
            self._tell(image)
        return found

    def duration_for(self, image: str) -> int | None:
        """How long pulling the image takes, if the test said so, in nanoseconds."""
        found = self._find(self._slow, image)
        if found is not None:
            self._tell(image)
        return found

    def _tell(self, image: str) -> None:
        for listener in tuple(self._on_trouble):
            listener(image)

    def made(self, container: Container) -> None:
        """A runtime has made a container."""
        for listener in tuple(self.on_container):
            listener(container)

    def start_delay_ns(self, container: Container) -> int:
        """How much longer than usual a container's start takes."""
        return sum(asked(container) for asked in self.on_start)

    @staticmethod
    def _find(patterns: Patterns[Any], image: str) -> Any:
        return patterns.find(image, *_variants(parse(image))) if patterns else None
