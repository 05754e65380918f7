"""Runs a script's tree in a process.

The law: a command that is not part of the shell is a child process; so is each part of a pipeline,
a subshell, a substitution and what runs in the background.  The last command of a script given with
`-c` takes the shell's own place, as in ash.  A trapped signal is looked at when the command in the
foreground has ended, or `wait` is interrupted by it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.handles import ReadEnd
from pytest_kubesim.cri.linux.process import Exit, Proc, decode, encode, outcome
from pytest_kubesim.cri.shell import conditional, patterns, redirections
from pytest_kubesim.cri.shell.expansion import Expander, ExpansionFault
from pytest_kubesim.cri.shell.parser import parse
from pytest_kubesim.cri.shell.syntax import (
    AndOr,
    Assignment,
    Calculation,
    Case,
    Command,
    Conditional,
    CountedFor,
    For,
    Function,
    Group,
    If,
    Loop,
    Pipeline,
    Redirect,
    Script,
    Simple,
    Subshell,
)
from pytest_kubesim.cri.shell.variables import Variables
from pytest_kubesim.cri.shell.words import SyntaxFault

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.files import Handle
    from pytest_kubesim.cri.linux.process import Main

COMMANDS_A_MILLISECOND = 1_000
"""After so many commands of the shell itself a millisecond has passed: no loop stops the clock."""


Builtin: TypeAlias = "Callable[[Shell, list[str]], Awaitable[int]]"


class Break(Exception):
    """`break` and `continue`: out of `levels` loops."""

    def __init__(self, levels: int, again: bool) -> None:
        super().__init__(levels)
        self.levels = levels
        self.again = again


class Return(Exception):
    """`return`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Shell(Variables):
    """A shell in a process.

    Parameters: `proc`, the process it is; `name`, `$0`; `positional`, `$1` and on.
    """

    def __init__(
        self, proc: Proc, name: str, positional: list[str], *, bash: bool = False
    ) -> None:
        super().__init__(proc, name, positional)
        self.bash = bash
        """Whether it is bash: what ash does not know is known."""
        self.functions: dict[str, Command] = {}
        self.jobs: dict[int, Proc] = {}
        self.traps: dict[str, str] = {}
        self.pending: list[str] = []
        self.locals: list[dict[str, str | dict[int | str, str] | None]] = []
        self.loops = 0
        self.tested = 0
        """Above 0: somebody asks for the status of what runs."""
        self.expander = Expander(self)
        self._count = 0

    def child(self, proc: Proc) -> Shell:
        """The same shell as it goes on in a child process."""
        made = Shell(proc, self.name, list(self.positional), bash=self.bash)
        made.variables = dict(self.variables)
        made.arrays = {name: dict(values) for name, values in self.arrays.items()}
        made.keyed = set(self.keyed)
        made.exported = set(self.exported)
        made.constant = set(self.constant)
        made.functions = dict(self.functions)
        made.options = set(self.options)
        made.status = self.status
        made.last_job = self.last_job
        made.loops = self.loops
        made.root_pid = self.root_pid
        made.locals = list(self.locals)
        made.traps = {name: "" for name, action in self.traps.items() if action == ""}
        for name in made.traps:
            if name != "EXIT":
                proc.traps[name] = None
        return made

    def restore(self, name: str, before: str | dict[int | str, str] | None) -> None:
        """A local variable ends."""
        self.arrays.pop(name, None)
        if isinstance(before, dict):
            self.variables.pop(name, None)
            self.arrays[name] = before
        elif before is None:
            self.variables.pop(name, None)
        else:
            self.variables[name] = before

    # -- the whole ----------------------------------------------------------------------------

    async def main(self, script: Script, *, tail: bool = False) -> int:
        """Run a script to the end of the shell, with its EXIT trap; the exit code."""
        try:
            code = await self._guarded(script, tail)
        except Exit as end:
            code = end.code
        action = self.traps.pop("EXIT", "")
        if action:
            self.status = code
            try:
                await self.run_text(action)
            except Exit as end:
                code = end.code
        return code

    async def _guarded(self, script: Script, tail: bool) -> int:
        try:
            return await self.run(script, tail=tail)
        except ExpansionFault as fault:
            await self.complain(str(fault))
            return 2
        except SyntaxFault as fault:
            await self.complain(f"syntax error: {fault}")
            return 2
        except Return as back:
            return back.code
        except Break:
            return self.status

    async def complain(self, problem: str) -> None:
        """Say what is wrong, on the shell's standard error."""
        await self.proc.err(f"{self.name}: {problem}\n")

    async def run_text(self, text: str) -> int:
        """Parse and run (`eval`, traps, `.`)."""
        return await self.run(parse(text, self.bash))

    # -- lists --------------------------------------------------------------------------------

    async def run(self, script: Script, *, tail: bool = False) -> int:
        """Run commands one after the other; the status of the last."""
        last = len(script.items) - 1
        for number, item in enumerate(script.items):
            if item.background:
                await self._background(item)
                self.status = 0
            else:
                await self._and_or(item, tail=tail and number == last)
            if self.pending:
                await self.run_traps()
        return self.status

    async def _background(self, item: AndOr) -> None:
        script = Script((AndOr(item.links),))
        fds: dict[int, Handle] = {**self.proc.fds, 0: self.proc.open("/dev/null")}
        self.last_job = self.fork(script, fds)
        self.jobs[self.last_job.pid] = self.last_job

    async def _and_or(self, item: AndOr, *, tail: bool) -> None:
        last = len(item.links) - 1
        for number, (operator, pipeline) in enumerate(item.links):
            if operator and (operator == "&&") != (self.status == 0):
                continue
            tested = number < last or pipeline.negated
            self.tested += tested
            try:
                await self._pipeline(pipeline, tail=tail and not tested)
            finally:
                self.tested -= tested
            if self.status and not tested:
                await self._trap_failure()
                self.check_errexit()

    async def _trap_failure(self) -> None:
        """What bash does for `trap ... ERR`."""
        action = self.traps.get("ERR")
        if action and not self.tested:
            status = self.status
            self.tested += 1
            try:
                await self.run_text(action)
            finally:
                self.tested -= 1
            self.status = status

    def check_errexit(self) -> None:
        """End the shell after a failure, under `set -e` and where nobody asks for the status."""
        if "e" in self.options and not self.tested:
            raise Exit(self.status)

    async def _pipeline(self, pipeline: Pipeline, *, tail: bool) -> None:
        if len(pipeline.commands) == 1:
            await self._command(pipeline.commands[0], tail=tail)
        else:
            await self._piped(pipeline)
        if pipeline.negated:
            self.status = int(not self.status)

    async def _piped(self, pipeline: Pipeline) -> None:
        source: ReadEnd | None = None
        children: list[Proc] = []
        last = len(pipeline.commands) - 1
        for number, command in enumerate(pipeline.commands):
            fds: dict[int, Handle] = dict(self.proc.fds)
            if source is not None:
                fds[0] = source
            if number < last:
                source, sink = self.proc.pipe()
                fds[1] = sink
            script = Script((AndOr((("", Pipeline((command,))),)),))
            children.append(self.fork(script, fds))
        statuses = [await child.exited for child in children]
        self.status = statuses[-1]
        if "pipefail" in self.options:
            self.status = next((code for code in reversed(statuses) if code), 0)

    def fork(self, script: Script, fds: Mapping[int, Handle]) -> Proc:
        """A subshell that runs a script."""
        tested = self.tested

        async def main(proc: Proc) -> int:
            shell = self.child(proc)
            shell.tested = tested
            return await shell.main(script, tail=True)

        return self.proc.fork(main, fds=fds)

    async def substitute(self, script: Script) -> str:
        """What a script in `$(...)` writes."""
        reader, writer = self.proc.pipe()
        child = self.fork(script, {**self.proc.fds, 1: writer})
        pieces: list[bytes] = []
        while piece := await reader.read(65_536):
            pieces.append(piece)
        self.status = await child.exited
        return decode(b"".join(pieces).replace(b"\0", b"")).rstrip("\n")

    async def output_file(self, script: Script) -> str:
        """The path of a file with what a script in `<(...)` writes."""
        text = await self.substitute(script)
        path = f"/dev/fd-{self.proc.pid}-{self._count}"
        handle = self.proc.open(path, "w")
        await handle.write(encode(f"{text}\n" if text else ""))
        return path

    # -- traps --------------------------------------------------------------------------------

    async def run_traps(self) -> None:
        """Do what is to be done for the signals that have come."""
        while self.pending:
            name = self.pending.pop(0)
            action = self.traps.get(name)
            if action:
                status = self.status
                await self.run_text(action)
                self.status = status

    # -- commands -----------------------------------------------------------------------------

    async def _command(self, command: Command, *, tail: bool = False) -> None:
        self._count += 1
        if self._count % COMMANDS_A_MILLISECOND == 0:
            await self.proc.system.sleep(1_000_000)
        if isinstance(command, Simple):
            await self._simple(command, tail=tail)
        elif isinstance(command, Function):
            self.functions[command.name] = command.body
            self.status = 0
        else:
            saved = await redirections.apply(self, command.redirects)
            if saved is None:
                return
            try:
                await self._compound(command, tail=tail and not command.redirects)
            finally:
                redirections.restore(self.proc, saved)

    async def _compound(self, command: Command, *, tail: bool) -> None:
        if isinstance(command, Group):
            await self.run(command.body, tail=tail)
        elif isinstance(command, Subshell):
            child = self.fork(command.body, self.proc.fds)
            self.status = await child.exited
            self.check_errexit()
        elif isinstance(command, If):
            await self._if(command)
        elif isinstance(command, Loop):
            await self._loop(command)
        elif isinstance(command, For):
            await self._for(command)
        elif isinstance(command, CountedFor):
            await self._counted_for(command)
        elif isinstance(command, Calculation):
            self.status = int(await self.expander.number(command.expression) == 0)
        elif isinstance(command, Conditional):
            self.status = await conditional.status(self, command.test)
        elif isinstance(command, Case):
            text = await self.expander.text(command.word)
            self.status = 0
            for choices, body in command.branches:
                for choice in choices:
                    if patterns.matches(await self.expander.pattern(choice), text):
                        await self.run(body)
                        return

    async def _condition(self, script: Script) -> bool:
        self.tested += 1
        try:
            return await self.run(script) == 0
        finally:
            self.tested -= 1

    async def _if(self, command: If) -> None:
        for condition, body in command.branches:
            if await self._condition(condition):
                await self.run(body)
                return
        self.status = 0
        if command.otherwise is not None:
            await self.run(command.otherwise)

    async def _loop(self, command: Loop) -> None:
        status = 0
        while await self._condition(command.condition) != command.until:
            if await self._turn(command.body):
                return
            status = self.status
        self.status = status

    async def _for(self, command: For) -> None:
        if command.words is None:
            values = list(self.positional)
        else:
            values = await self.expander.fields(command.words)
        self.status = 0
        for value in values:
            self.assign(command.name, value)
            if await self._turn(command.body):
                return

    async def _counted_for(self, command: CountedFor) -> None:
        number = self.expander.number
        if command.begin:
            await number(command.begin)
        self.status = 0
        while not command.condition or await number(command.condition):
            if await self._turn(command.body):
                return
            if command.after:
                await number(command.after)

    async def _turn(self, body: Script) -> bool:
        """One turn of a loop; whether it is to be left."""
        self.loops += 1
        try:
            await self.run(body)
        except Break as out:
            if out.levels > 1 and self.loops > 1:
                raise Break(out.levels - 1, out.again) from None
            self.status = 0
            return not out.again
        finally:
            self.loops -= 1
        return False

    # -- simple commands ----------------------------------------------------------------------

    async def _simple(self, command: Simple, *, tail: bool) -> None:
        from pytest_kubesim.cri.shell.builtins import BUILTINS, SPECIAL

        before = self.status
        self.status = 0
        words = await self._expand_words(command, before)
        assigned = await self._assigned(command.assignments)
        if "x" in self.options:
            shown = [*(f"{n}={v}" for n, v in assigned), *words]
            await self.proc.err(f"{self.get('PS4') or '+ '}{' '.join(shown)}\n")
        name = words[0] if words else ""
        builtin = BUILTINS.get(name)
        is_own = not words or builtin is not None or name in self.functions
        if not is_own:
            await self._external(command.redirects, words, assigned, tail=tail)
            return
        saved = await redirections.apply(self, command.redirects)
        if saved is None:
            if name in SPECIAL:
                raise Exit(self.status)
            return
        keep = name == "exec" and len(words) == 1
        try:
            if not words:
                status = self.status
                for variable, text in assigned:
                    self.assign(variable, text)
                self.status = status
            elif name in self.functions:
                await self._with(assigned, self._call(words))
            else:
                assert builtin is not None
                if name in SPECIAL:
                    for variable, text in assigned:
                        self.assign(variable, text)
                    assigned = []
                await self._with(assigned, self._builtin(builtin, words))
                for array in command.arrays:
                    await self._assign_array(array)
        finally:
            if keep:
                redirections.let_go(saved)
            else:
                redirections.restore(self.proc, saved)

    async def _assigned(self, assignments: tuple[Assignment, ...]) -> list[tuple[str, str]]:
        """What variables are to hold; elements of arrays hold it at once."""
        found: list[tuple[str, str]] = []
        for each in assignments:
            if each.elements is not None:
                await self._assign_array(each)
                continue
            text = await self.expander.text(each.value)
            if each.index is not None:
                index = self.index(each.name, await self.expander.text(each.index))
                before = self.elements(each.name).get(index) or "" if each.more else ""
                self.assign_element(each.name, index, before + text)
                continue
            found.append((each.name, self.get(each.name) + text if each.more else text))
        return found

    async def _assign_array(self, each: Assignment) -> None:
        known = self.elements(each.name) if each.more else {}
        following = max(map(int, known), default=-1) + 1 if each.name not in self.keyed else 0
        values: dict[int | str, str] = dict(known)
        for word in each.elements or ():
            for text in await self.expander.fields((word,)):
                match = re.match(r"\[([^\]]*)\]=", text)
                if match is not None:
                    index = self.index(each.name, match.group(1))
                    values[index] = text[match.end() :]
                    following = index + 1 if isinstance(index, int) else 0
                else:
                    values[following] = text
                    following += 1
        self.assign_all(each.name, values.items())

    async def _expand_words(self, command: Simple, before: int) -> list[str]:
        self.status = before
        words = await self.expander.fields(command.words)
        if words:
            self.status = before
        elif self.status == before:
            self.status = 0
        return words

    async def _with(
        self, assigned: list[tuple[str, str]], run: Coroutine[Any, Any, None]
    ) -> None:
        """Run with variables that are set for one command only."""
        old = [(name, self.variables.get(name), name in self.exported) for name, _ in assigned]
        for name, text in assigned:
            self.assign(name, text)
            self.exported.add(name)
        try:
            await run
        finally:
            for name, text, exported in old:
                if text is None:
                    self.variables.pop(name, None)
                else:
                    self.variables[name] = text
                if not exported:
                    self.exported.discard(name)

    async def _builtin(self, builtin: Builtin, words: list[str]) -> None:
        try:
            result = await builtin(self, words[1:])
        except Fault as fault:
            if fault.name == "EPIPE":
                raise
            await self.complain(f"{words[0]}: {fault}")
            result = 1
        self.status = result

    async def _call(self, words: list[str]) -> None:
        """Call a function."""
        positional, self.positional = self.positional, words[1:]
        self.locals.append({})
        loops, self.loops = self.loops, 0
        try:
            await self._command(self.functions[words[0]])
        except Return as back:
            self.status = back.code
        finally:
            self.positional, self.loops = positional, loops
            for name, before in self.locals.pop().items():
                self.restore(name, before)

    async def _external(
        self,
        redirects: tuple[Redirect, ...],
        words: list[str],
        assigned: list[tuple[str, str]],
        *,
        tail: bool,
    ) -> None:
        saved = await redirections.apply(self, redirects)
        if saved is None:
            return
        try:
            env = self.environment(dict(assigned))
            found = await self.find(tuple(words), env)
            if found is None:
                return
            main, argv = found
            if tail and not self.traps and not self.jobs:
                raise Exit(await self.replace(main, argv, env))
            child = self.proc.fork(main, argv, env=env)
            self.status = await child.exited
        finally:
            redirections.restore(self.proc, saved)

    async def replace(self, main: Main, argv: tuple[str, ...], env: dict[str, str]) -> int:
        """Go on as another program."""
        proc = self.proc
        proc.argv, proc.env = argv, env
        proc.traps = {name: None for name, action in self.traps.items() if action == ""}
        return await outcome(proc, main)

    async def find(
        self, words: tuple[str, ...], env: Mapping[str, str]
    ) -> tuple[Main, tuple[str, ...]] | None:
        """The program of a command; None, with the complaint made, where there is none."""
        try:
            return self.proc.program(words)
        except Fault as fault:
            if fault.name == "ENOEXEC":
                return self._as_script(words)
            if fault.name == "ENOENT" and "/" not in words[0]:
                text = "not found"
            else:
                text = "Permission denied" if fault.name == "EACCES" else str(fault).lower()
                text = "not found" if fault.name == "ENOENT" else text
            await self.complain(f"{words[0]}: {text}")
            self.status = 127 if fault.name in ("ENOENT", "ENOTDIR") else 126
            return None
        finally:
            del env

    def _as_script(self, words: tuple[str, ...]) -> tuple[Main, tuple[str, ...]]:
        from pytest_kubesim.cri.shell.command import sh

        return sh, ("sh", *words)
