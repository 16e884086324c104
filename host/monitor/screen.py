"""`kvfpga top` on a terminal: the same looks as view.py draws, in three panes with keys, on textual.

    overview   tiers, lookups, what the policy decides by, activity; most important first, the rest is scrolled to
    blocks     every block of the directory, sorted by any column (block_list.py)
    classes    blocks of each class, and the rank table (policy_view.py)

Looks come from an iterator that may take its time over each, in a thread of its own: a slow board does not freeze the keys. What
it raises ends the screen, and `run_screen` raises it again.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from rich.console import Group
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Footer, Static, TabbedContent, TabPane

from . import policy_view
from .block_list import BlockList

if TYPE_CHECKING:
    from textual.binding import BindingType

    from .view import View

SIDE_BY_SIDE = 118
"""Characters in a line from which the overview has two columns."""
PATIENCE = 1.0
"""Seconds that leaving waits for a look under way."""


class Looked(Message):
    """A look has come."""

    def __init__(self, view: View):
        super().__init__()
        self.view = view


class Ended(Message):
    """There are no more looks; `error` says why, where it was one."""

    def __init__(self, error: Exception | None):
        super().__init__()
        self.error = error


class Top(App[None]):
    """`views`: one after the other, each when it is due. `stop` is set when nobody looks any more: the iterator should end then.
    `view`: the one shown. `error`: what ended the looks."""

    CSS = """
    Screen { overflow: hidden; }
    TabbedContent, ContentSwitcher, TabPane { height: 1fr; }
    #head, #foot { height: auto; padding: 0 1; }
    #head { text-style: bold; }
    TabPane { padding: 0 1; }
    #overview > Static { height: auto; width: 1fr; }
    #sides { height: auto; }
    #sides > Static { height: auto; width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("1", "pane('overview')", "overview"),
        Binding("2", "pane('blocks')", "blocks"),
        Binding("3", "pane('classes')", "classes"),
        Binding("s", "sort(1)", "sort"),
        Binding("S", "sort(-1)", "back"),
        Binding("r", "reverse", "reverse"),
    ]
    ENABLE_COMMAND_PALETTE = False
    TITLE = "kvfpga top"

    def __init__(self, views: Iterator[View], stop: threading.Event):
        super().__init__()
        self.view: View | None = None
        self.error: Exception | None = None
        self._views, self._stop = views, stop
        self._looking = threading.Thread(target=self._look, name="kvfpga top", daemon=True)

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        with TabbedContent(initial="overview"):
            with TabPane("overview", id="overview"), VerticalScroll():
                with Horizontal(id="sides"):
                    yield Static(id="left")
                    yield Static(id="right")
                yield Static(id="below")
            with TabPane("blocks", id="blocks"):
                yield BlockList(id="list")
            with TabPane("classes", id="classes"), VerticalScroll():
                yield Static(id="ranks")
        yield Static(id="foot")
        yield Footer()

    def on_mount(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.leave)
        self.action_pane("overview")
        self._looking.start()

    def on_unmount(self) -> None:
        self._stop.set()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)

    # ---- looks -------------------------------------------------------------------------------------------------------
    def _look(self) -> None:
        error = None
        try:
            for view in self._views:
                if self._stop.is_set():
                    return
                self.post_message(Looked(view))
        except Exception as found:  # raised again by run_screen, in the thread that waits for it
            error = found
        self.post_message(Ended(error))

    def on_looked(self, message: Looked) -> None:
        self.view = message.view
        self.draw()

    def on_ended(self, message: Ended) -> None:
        self.error = message.error
        self.exit()

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Fill all panes from `view`, to the width that there is."""
        view = self.view
        if view is None:
            return
        width = self.size.width - 4  # padding, and the scroll bar
        head = view.head()
        head.rstrip()
        self._put("head", head)
        is_wide = width >= SIDE_BY_SIDE - 4
        room = width // 2 if is_wide else width
        tiers, policy = view.tiers(min(width, 60)), policy_view.figures(view.snapshot, room)
        activity, hits = view.activity(room), view.hits(room)
        if is_wide:
            self._put("left", Group(tiers, "", activity))
            self._put("right", Group(hits, "", policy))
            self._put("below", "")
        else:
            self._put("left", Group(tiers, "", hits, "", policy))
            self._put("below", Group("", activity))
        self.query_one("#right").display = is_wide
        self.query_one("#list", BlockList).show(view.snapshot.rows)
        self._put("ranks", policy_view.classes(view.snapshot, width))
        lines = [line for line in view.foot() if line != ""]
        self._put("foot", Group(*lines))
        self.query_one("#foot").display = bool(lines)

    def _put(self, place: str, content: object) -> None:
        self.query_one(f"#{place}", Static).update(content)  # type: ignore[arg-type]  # textual takes what rich draws

    # ---- keys --------------------------------------------------------------------------------------------------------
    def leave(self) -> None:
        self._stop.set()
        self.exit()

    async def action_quit(self) -> None:
        self.leave()

    def action_pane(self, name: str) -> None:
        panes = self.query_one(TabbedContent)
        panes.active = name
        self.query_one(f"#{name} > *").focus()  # what scrolls, so that the arrow keys do

    def action_sort(self, places: int) -> None:
        self.query_one("#list", BlockList).by_next(places)

    def action_reverse(self) -> None:
        self.query_one("#list", BlockList).reverse()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Sorting is for the blocks."""
        return action not in ("sort", "reverse") or self.query_one(TabbedContent).active == "blocks"

    def on_tabbed_content_tab_activated(self) -> None:
        self.refresh_bindings()


def run_screen(views: Iterator[View], stop: threading.Event) -> View | None:
    """Show looks until `q`, Ctrl-C, SIGTERM, or the last of them; the last one shown. Raises what the iterator raised."""
    top = Top(views, stop)
    top.run()
    if top._looking.ident is not None:
        top._looking.join(PATIENCE)
    if top.error:
        raise top.error
    return top.view
