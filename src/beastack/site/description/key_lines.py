"""Finds the line that each key of a TOML file is on."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass

_TOKEN = re.compile(
    r'''
      (?P<comment> \#[^\n]* )
    | (?P<string> """(?:\\.|[^\\])*?""""{0,2} | \'\'\'.*?\'\'\'\'{0,2} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
    | (?P<word> [A-Za-z0-9_+:-]+ )
    | (?P<mark> [\[\]{}=,.] )
    | (?P<newline> \n )
    | (?P<space> [ \t]+ )
    ''',
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


class KeyLines:
    """Finds the line of each key and table header, which tomllib does not tell.

    Only for text that tomllib has accepted: it looks no closer than it must.
    ``lines`` maps a key's whole path to the line where it first appears.
    """

    def __init__(self, text: str) -> None:
        self.lines: dict[tuple[str, ...], int] = {}
        self._tokens = _tokens(text)
        self._position = 0
        self._read_document()

    def _read_document(self) -> None:
        table: tuple[str, ...] = ()
        while not self._next_is(""):
            if self._next_is("\n"):
                self._take()
            elif self._next_is("["):
                self._skip("[")
                table = self._read_key(())
                self._skip("]")
            else:
                self._read_pair(table)

    def _read_pair(self, table: tuple[str, ...]) -> None:
        path = self._read_key(table)
        self._skip("=")
        self._read_value(path)

    def _read_key(self, prefix: tuple[str, ...]) -> tuple[str, ...]:
        path = prefix
        while True:
            token = self._take()
            path = (*path, _unquoted(token))
            self.lines.setdefault(path, token.line)
            if not self._next_is("."):
                return path
            self._take()

    def _read_value(self, path: tuple[str, ...]) -> None:
        if self._next_is("{"):
            self._take()
            while not self._next_is("}", ""):
                if self._next_is(",", "\n"):
                    self._take()
                else:
                    self._read_pair(path)
            self._take()
        elif self._next_is("["):
            self._take()
            while not self._next_is("]", ""):
                if self._next_is(",", "\n"):
                    self._take()
                else:
                    self._read_value(path)
            self._take()
        else:
            while not self._next_is("\n", ",", "]", "}", ""):
                self._take()

    def _next_is(self, *texts: str) -> bool:
        return self._tokens[self._position].text in texts

    def _skip(self, text: str) -> None:
        while self._next_is(text):
            self._take()

    def _take(self) -> _Token:
        token = self._tokens[self._position]
        # The last token stands for the end, and is never passed.
        self._position = min(self._position + 1, len(self._tokens) - 1)
        return token


def _tokens(text: str) -> list[_Token]:
    tokens = []
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind not in ("comment", "space"):
            tokens.append(_Token(kind, match.group(), line))
        line += match.group().count("\n")
    tokens.append(_Token("end", "", line))
    return tokens


def _unquoted(token: _Token) -> str:
    if token.kind != "string":
        return token.text
    return str(tomllib.loads(f"key = {token.text}")["key"])
