"""From a script's text to its tree: the grammar of POSIX's shell.

Follows "Shell Grammar" of POSIX.1-2017, section 2.10, with the words of ash for what is wrong.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial

import attrs

from pytest_kubesim.cri.shell import braces
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
    Literal,
    Loop,
    Pipeline,
    Redirect,
    Script,
    Simple,
    Subshell,
    Test,
    Word,
)
from pytest_kubesim.cri.shell.words import Scanner, SyntaxFault, is_name, name_end

_RESERVED = frozenset({
    "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "{",
    "}", "!", "in", "[[", "function",
})
_DECLARING = frozenset({"declare", "typeset", "local", "readonly", "export"})
_CLOSING = frozenset({"then", "else", "elif", "fi", "do", "done", "esac", "}"})
_REDIRECT = re.compile(r"(\d*)(<<<|<<-|<<|>>|<&|>&|>\||<>|<(?!\()|>)|(&>>|&>)")


@lru_cache(maxsize=1024)
def parse(text: str, bash: bool = False) -> Script:
    """The tree of a script; `bash`, whether bash reads it.  Raises `SyntaxFault`."""
    parser = _Parser(text, bash=bash)
    script = parser.script()
    if parser.scan.at < len(text):
        raise parser.unexpected()
    return script


class _Parser:
    def __init__(self, text: str, *, bash: bool = False) -> None:
        self.bash = bash
        self.scan = self._scanner(text)
        self._heredocs: list[tuple[str, bool, bool, list[Word]]] = []

    def _scanner(self, text: str) -> Scanner:
        return Scanner(text, partial(parse, bash=True) if self.bash else parse, bash=self.bash)

    # -- the text between words ---------------------------------------------------------------

    def unexpected(self, expected: str = "") -> SyntaxFault:
        self._blanks()
        rest = self.scan.text[self.scan.at :]
        wanted = f' (expecting "{expected}")' if expected else ""
        if not rest:
            return SyntaxFault(f"unexpected end of file{wanted}")
        if rest[0] == "\n":
            return SyntaxFault(f"unexpected newline{wanted}")
        match = re.match(r"&&|\|\||;;|[;&|<>()]|[^\s;&|<>()]+", rest)
        return SyntaxFault(f'unexpected "{match.group() if match else rest[0]}"{wanted}')

    def _blanks(self) -> None:
        scan = self.scan
        while True:
            char = scan.peek()
            if char and char in " \t\r":
                scan.at += 1
            elif char == "\\" and scan.peek(2) == "\\\n":
                scan.at += 2
            elif char == "#":
                end = scan.text.find("\n", scan.at)
                scan.at = len(scan.text) if end < 0 else end
            else:
                return

    def _newlines(self) -> None:
        while True:
            self._blanks()
            if self.scan.peek() != "\n":
                return
            self.scan.at += 1
            self._read_heredocs()

    def _operator(self, operator: str) -> bool:
        self._blanks()
        if not self.scan.text.startswith(operator, self.scan.at):
            return False
        if operator in ("&", "|", ";") and self.scan.peek(2) in ("&&", "||", ";;", "&>"):
            return False
        self.scan.at += len(operator)
        return True

    def _peek_reserved(self) -> str:
        """The reserved word that stands here, if one does."""
        self._blanks()
        match = re.compile(r"[^\s;&|<>()\"'`$\\]+").match(self.scan.text, self.scan.at)
        word = match.group() if match else ""
        return word if word in _RESERVED else ""

    def _expect(self, word: str) -> None:
        if self._peek_reserved() != word:
            raise self.unexpected(word)
        self.scan.at += len(word)

    # -- lists --------------------------------------------------------------------------------

    def script(self) -> Script:
        """Commands up to what closes them."""
        items: list[AndOr] = []
        while True:
            self._newlines()
            scan = self.scan
            if not scan.peek() or scan.peek() == ")" or scan.peek(2) == ";;":
                break
            if self._peek_reserved() in _CLOSING:
                break
            item = self._and_or()
            if self._operator("&"):
                item = attrs.evolve(item, background=True)
            elif not self._operator(";"):
                self._blanks()
                if scan.peek() not in ("\n", "", ")") and scan.peek(2) != ";;":
                    raise self.unexpected()
            items.append(item)
        return Script(tuple(items))

    def _body(self) -> Script:
        """A list that must not be empty."""
        script = self.script()
        if not script.items:
            raise self.unexpected()
        return script

    def _and_or(self) -> AndOr:
        links = [("", self._pipeline())]
        while True:
            if self._operator("&&"):
                operator = "&&"
            elif self._operator("||"):
                operator = "||"
            else:
                return AndOr(tuple(links))
            self._newlines()
            links.append((operator, self._pipeline()))

    def _pipeline(self) -> Pipeline:
        negated = False
        while self._peek_reserved() == "!":
            self.scan.at += 1
            negated = not negated
        commands = [self._command()]
        while self._operator("|"):
            self._newlines()
            commands.append(self._command())
        return Pipeline(tuple(commands), negated)

    # -- commands -----------------------------------------------------------------------------

    def _command(self) -> Command:
        reserved = self._peek_reserved()
        scan = self.scan
        if self.bash and scan.peek(2) == "((" and (end := scan.text.find("))", scan.at)) > 0:
            expression = self._scanner(scan.text[scan.at + 2 : end]).double_quoted("")
            scan.at = end + 2
            return Calculation(expression, self._redirects())
        if scan.peek() == "(":
            scan.at += 1
            body = self._body()
            if not self._operator(")"):
                raise self.unexpected(")")
            return Subshell(body, self._redirects())
        if reserved == "{":
            scan.at += 1
            body = self._body()
            self._expect("}")
            return Group(body, self._redirects())
        if reserved == "if":
            return self._if()
        if reserved in ("while", "until"):
            scan.at += 5
            condition = self._body()
            return Loop(condition, self._do(), reserved == "until", self._redirects())
        if reserved == "for":
            return self._for()
        if reserved == "case":
            return self._case()
        if reserved == "[[":
            return self._conditional()
        if reserved == "function":
            return self._function()
        if reserved in _CLOSING:
            raise self.unexpected()
        return self._simple()

    def _if(self) -> Command:
        branches: list[tuple[Script, Script]] = []
        otherwise = None
        self._expect("if")
        while True:
            condition = self._body()
            self._expect("then")
            branches.append((condition, self._body()))
            following = self._peek_reserved()
            if following == "elif":
                self.scan.at += 4
                continue
            if following == "else":
                self.scan.at += 4
                otherwise = self._body()
            self._expect("fi")
            return If(tuple(branches), otherwise, self._redirects())

    def _do(self) -> Script:
        self._expect("do")
        body = self._body()
        self._expect("done")
        return body

    def _for(self) -> Command:
        self._expect("for")
        self._blanks()
        scan = self.scan
        if self.bash and scan.peek(2) == "((" and (end := scan.text.find("))", scan.at)) > 0:
            parts = scan.text[scan.at + 2 : end].split(";")
            if len(parts) != 3:
                raise self.unexpected()
            scan.at = end + 2
            self._operator(";")
            self._newlines()
            begin, condition, after = (self._scanner(part).double_quoted("") for part in parts)
            return CountedFor(begin, condition, after, self._do(), self._redirects())
        start = scan.at
        scan.at = name_end(scan.text, start)
        name = scan.text[start : scan.at]
        if not name:
            raise SyntaxFault("bad for loop variable")
        self._newlines()
        words: tuple[Word, ...] | None = None
        if self._peek_reserved() == "in":
            scan.at += 2
            found: list[Word] = []
            while True:
                self._blanks()
                word = scan.word()
                if not word:
                    break
                found += braces.expand(word) if self.bash else [word]
            words = tuple(found)
        self._operator(";")
        self._newlines()
        return For(name, words, self._do(), self._redirects())

    def _case(self) -> Command:
        self._expect("case")
        self._blanks()
        word = self.scan.word()
        self._newlines()
        self._expect("in")
        branches: list[tuple[tuple[Word, ...], Script]] = []
        while True:
            self._newlines()
            if self._peek_reserved() == "esac":
                break
            self._operator("(")
            patterns: list[Word] = []
            while True:
                self._blanks()
                pattern = self.scan.word()
                if not pattern:
                    raise self.unexpected()
                patterns.append(pattern)
                if not self._operator("|"):
                    break
            if not self._operator(")"):
                raise self.unexpected(")")
            branches.append((tuple(patterns), self.script()))
            self._newlines()
            if not self._operator(";;"):
                break
        self._newlines()
        self._expect("esac")
        return Case(word, tuple(branches), self._redirects())

    def _function(self) -> Command:
        self._expect("function")
        self._blanks()
        name = _plain(self.scan.word())
        if name is None:
            raise self.unexpected()
        if self._operator("(") and not self._operator(")"):
            raise self.unexpected(")")
        self._newlines()
        return Function(name, self._command())

    # -- [[ ]] --------------------------------------------------------------------------------

    def _conditional(self) -> Command:
        self._expect("[[")
        test = self._test_list()
        self._test_end()
        return Conditional(test, self._redirects())

    def _follows(self, operator: str) -> bool:
        self._newlines()
        return self._operator(operator)

    def _test_end(self) -> None:
        self._newlines()
        if not self.scan.text.startswith("]]", self.scan.at):
            raise self.unexpected("]]")
        self.scan.at += 2

    def _test_list(self) -> Test:
        """Tests with `&&` and `||`, of which `&&` binds closer."""
        test = self._test_and()
        while self._follows("||"):
            test = Test("||", (test, self._test_and()))
        return test

    def _test_and(self) -> Test:
        test = self._test()
        while self._follows("&&"):
            test = Test("&&", (test, self._test()))
        return test

    def _test(self) -> Test:
        self._newlines()
        scan = self.scan
        if self._operator("("):
            test = self._test_list()
            self._newlines()
            if not self._operator(")"):
                raise self.unexpected(")")
            return test
        word = scan.word()
        name = _bare(word)
        if not word or name == "]]":
            raise self.unexpected()
        if name == "!":
            return Test("!", (self._test(),))
        self._blanks()
        if name is not None and re.fullmatch("-[a-zA-Z]", name) and not self._at_test_end():
            return Test(name, (scan.word(),))
        operator = re.compile(r"(==|=~|!=|=|<|>|-(?:eq|ne|lt|le|gt|ge|nt|ot|ef)\b)\s").match(
            scan.text, scan.at
        )
        if operator is None:
            return Test("", (word,))
        scan.at = operator.end()
        self._blanks()
        kind = operator.group(1)
        return Test(kind, (word, scan.regex() if kind == "=~" else scan.word()))

    def _at_test_end(self) -> bool:
        return re.compile(r"\]\](?=[\s;&|)]|$)|&&|\|\||\)").match(
            self.scan.text, self.scan.at
        ) is not None

    # -- simple commands ----------------------------------------------------------------------

    def _simple(self) -> Command:
        assignments: list[Assignment] = []
        arrays: list[Assignment] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        scan = self.scan
        while True:
            self._blanks()
            found = self._redirect()
            if found:
                redirects += found
                continue
            if not words and (assignment := self._assignment()) is not None:
                assignments.append(assignment)
                continue
            if self.bash and words and _bare(words[0]) in _DECLARING and (
                re.compile(r"\w+=\(").match(scan.text, scan.at)
            ):
                array = self._assignment()
                assert array is not None
                arrays.append(array)
                words.append((Literal(array.name, quoted=True),))
                continue
            word = scan.word()
            if not word:
                break
            words += braces.expand(word) if self.bash else [word]
            if len(words) == 1 and not assignments and not redirects:
                self._blanks()
                name = _plain(word)
                if scan.peek() == "(" and name is not None:
                    scan.at += 1
                    if not self._operator(")"):
                        raise self.unexpected(")")
                    self._newlines()
                    return Function(name, self._command())
        if not (assignments or words or redirects):
            raise self.unexpected()
        return Simple(tuple(assignments), tuple(words), tuple(redirects), tuple(arrays))

    def _assignment(self) -> Assignment | None:
        scan = self.scan
        start, end = scan.at, name_end(scan.text, scan.at)
        name, index = scan.text[start:end], None
        if not is_name(name):
            return None
        if self.bash and scan.text[end : end + 1] == "[":
            match = re.compile(r"\[([^\]\n]+)\](?=\+?=)").match(scan.text, end)
            if match is None:
                return None
            index = self._scanner(match.group(1)).whole()
            end = match.end()
        more = self.bash and scan.text[end : end + 2] == "+="
        if not more and scan.text[end : end + 1] != "=":
            return None
        scan.at = end + 1 + more
        if self.bash and scan.peek() == "(" and index is None:
            scan.at += 1
            return Assignment(name, more=more, elements=self._elements())
        return Assignment(name, scan.word(), index, more)

    def _elements(self) -> tuple[Word, ...]:
        """The words of an array, up to the closing parenthesis."""
        found: list[Word] = []
        while True:
            self._newlines()
            if self._operator(")"):
                return tuple(found)
            word = self.scan.word()
            if not word:
                raise self.unexpected(")")
            found += braces.expand(word)

    # -- redirections -------------------------------------------------------------------------

    def _redirects(self) -> tuple[Redirect, ...]:
        all_found: list[Redirect] = []
        while True:
            self._blanks()
            found = self._redirect()
            if not found:
                return tuple(all_found)
            all_found += found

    def _redirect(self) -> list[Redirect]:
        """What a redirection here stands for; nothing where there is none."""
        scan = self.scan
        match = _REDIRECT.match(scan.text, scan.at)
        if match is None or (match.group(2) == "<<<" and not self.bash):
            return []
        digits, operator, both = match.groups()
        scan.at = match.end()
        self._blanks()
        start = scan.at
        word = scan.word()
        if not word and scan.at == start:
            raise self.unexpected()
        if both:
            return [Redirect(1, both[1:], word), Redirect(2, ">&", (Literal("1"),))]
        descriptor = int(digits) if digits else (0 if operator[0] == "<" else 1)
        if operator == "<<<":
            return [Redirect(descriptor, "<<", (*word, Literal("\n", quoted=True)))]
        if operator in ("<<", "<<-"):
            text = self._heredoc_mark(scan.text[start : scan.at])
            quoted = text != scan.text[start : scan.at]
            holder: list[Word] = []
            self._heredocs.append((text, operator == "<<-", quoted, holder))
            return [_Pending(descriptor, "<<", (), holder)]
        return [Redirect(descriptor, operator, word)]

    @staticmethod
    def _heredoc_mark(source: str) -> str:
        return re.sub(r"\\(.)|['\"]", r"\1", source)

    def _read_heredocs(self) -> None:
        pending, self._heredocs = self._heredocs, []
        scan = self.scan
        for mark, strip, quoted, holder in pending:
            lines: list[str] = []
            while scan.at < len(scan.text):
                end = scan.text.find("\n", scan.at)
                end = len(scan.text) if end < 0 else end
                line = scan.text[scan.at : end]
                scan.at = min(end + 1, len(scan.text))
                line = line.lstrip("\t") if strip else line
                if line == mark:
                    break
                lines.append(line + "\n")
            text = "".join(lines)
            if quoted:
                holder.append((Literal(text, quoted=True),))
            else:
                holder.append(self._scanner(text).double_quoted(""))


class _Pending(Redirect):
    """A here-document whose text comes after the line."""

    __slots__ = ("_holder",)

    def __init__(
        self, descriptor: int, operator: str, target: Word, holder: list[Word]
    ) -> None:
        super().__init__(descriptor, operator, target)
        object.__setattr__(self, "_holder", holder)

    @property
    def text(self) -> Word:
        """The document."""
        return self._holder[0] if self._holder else ()


def heredoc(redirect: Redirect) -> Word:
    """The text of a here-document."""
    return redirect.text if isinstance(redirect, _Pending) else redirect.target


def _bare(word: Word) -> str | None:
    """A word that is nothing but unquoted text."""
    if len(word) == 1 and isinstance(word[0], Literal) and not word[0].quoted:
        return word[0].text
    return None


def _plain(word: Word) -> str | None:
    if len(word) == 1 and isinstance(word[0], Literal) and not word[0].quoted:
        name = word[0].text
        return name if re.fullmatch(r"[\w.-]+", name) else None
    return None
