"""Whether a program that asked for a file is prepared not to get it.

A read below /proc inside a try that catches the error of a missing file is a
question that portable code may ask; it is recorded as such, apart from a
read that the program cannot do without.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see audit.py
if TYPE_CHECKING:
    import ast
    from types import FrameType

CATCHES = {"OSError", "IOError", "EnvironmentError", "FileNotFoundError", "Exception", "BaseException"}
FRAMES = 4  # how far out to look in the same file


def is_guarded(frame: FrameType | None, name: str) -> bool:
    """Tell whether the code at a frame, or what called it in the same file, catches the error of a missing file.

    :param name: the file of the frame's code
    """
    import ast

    try:
        with open(name, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return False
    lines = set()
    for _ in range(FRAMES):
        if frame is None or frame.f_code.co_filename != name:
            break
        lines.add(frame.f_lineno)
        frame = frame.f_back
    guarded = (node for node in ast.walk(tree) if isinstance(node, ast.Try) and any(map(_catches, node.handlers)))
    return any(node.body[0].lineno <= line <= (node.body[-1].end_lineno or 0) for node in guarded for line in lines)


def _catches(handler: ast.ExceptHandler) -> bool:
    import ast

    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {kind.id if isinstance(kind, ast.Name) else getattr(kind, "attr", "") for kind in kinds}
    return bool(names & CATCHES)
