"""What the core raises. The extension imports these classes; every raise goes through `crates/py/src/errors.rs`.

CoreError
├── CompileError   a definition was refused
├── LogError       the log could not do it
└── FrontError     the front door could not open
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apex_fast.core._core import Diagnostic


class CoreError(Exception):
    """An error of the core: a code for programs, a message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class CompileError(CoreError):
    """A definition was refused; ``diagnostics`` names every reason."""

    def __init__(self, message: str, diagnostics: "list[Diagnostic]") -> None:
        super().__init__("INVALID_DEFINITION", message)
        self.diagnostics = diagnostics


class LogError(CoreError):
    """The log could not do it: LOCKED, DAMAGED, READ_ONLY, FULL, POISONED, CONFLICT, BAD_RECORD or IO."""


class FrontError(CoreError):
    """The front door could not open: PORT_IN_USE or IO."""
