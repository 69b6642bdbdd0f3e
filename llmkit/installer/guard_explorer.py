"""The evaluator as the guard uses it: every static path, and no effect that nobody would see."""

from __future__ import annotations

from typing import Any

from llmkit.installer.expand import expand_text, known
from llmkit.installer.interpret import Evaluator
from llmkit.installer.interpret_types import Hooks, Opened, SimpleCommand, World
from llmkit.installer.shell_ast import AndOr, Node, Pipeline, Script, Sequence, Simple, Test
from llmkit.installer.state import SystemState


def explore(script: Script, state: SystemState, hooks: Hooks) -> None:
    """Show `hooks` every command of a script on every static path (see interpret.py)."""
    explorer = Explorer(hooks, _last(script.body))
    explorer.run(script.body, [World(state, {})])
    explorer.visit_uncalled()


class Explorer(Evaluator):
    """Leaves out what the last command of the line does to the machine, since nothing follows
    that could see it; that is most of the work for a line of one command. Shows the words of
    `[[ … ]]` as a command too."""

    def __init__(self, hooks: Hooks, last: Node | None) -> None:
        super().__init__(hooks, explore=True)
        self._last = last

    def run(self, node: Node, worlds: list[World]) -> list[World]:
        worlds = super().run(node, worlds)
        if isinstance(node, Test) and not node.arithmetic:
            for world in worlds:
                words = tuple(expand_text(word, self.scope(world)) for word in node.words)
                command = SimpleCommand((known("[["), *words), root=self.root, node=node)
                self.emit(command, [world])
        return worlds

    def _unseen(self, command: SimpleCommand) -> bool:
        return command.node is self._last and "xargs" not in command.wrappers

    def _apply(self, name: str, command: SimpleCommand, world: World) -> None:
        if not self._unseen(command):
            super()._apply(name, command, world)

    def _write(
        self, command: SimpleCommand, takes: list[Opened], printed: str | None, world: World
    ) -> None:
        if not self._unseen(command):
            super()._write(command, takes, printed, world)


def _last(node: Any) -> Node | None:
    """The simple command that ends a line, when it is run at most once."""
    while True:
        if isinstance(node, Sequence) and node.items:
            node = node.items[-1][0]
        elif isinstance(node, AndOr):
            node = node.rest[-1][1]
        elif isinstance(node, Pipeline):
            node = node.commands[-1]
        else:
            return node if isinstance(node, Simple) else None
