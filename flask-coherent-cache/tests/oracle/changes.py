"""Random writes: functions that change something in a session, which its caller commits."""

from collections.abc import Iterable

from .bulk_changes import BulkChanges
from .changing import Change
from .object_changes import ObjectChanges
from .worlds import World


class Changes(ObjectChanges, BulkChanges):
    """Draws changes of a world.

    :param kinds: the names of the only kinds that are drawn; all where there are none.
    """

    def __init__(self, world: World, kinds: Iterable[str] = ()) -> None:
        super().__init__(world)
        every = [name for name in dir(type(self)) if not name.startswith("_")]
        often = ["column_changed"] * 5 + [
            "moved",
            "named",
            "after_an_early_end",
            "many_to_many",
        ] * 2
        some = self.draw.sample(every, min(len(every), self.draw.choice([6, 12, 99])))
        self.kinds = [*kinds] or [*some, *(kind for kind in often if kind in some)]

    def _any(self) -> tuple[str, Change]:
        for _ in range(100):
            kind = self.draw.choice(self.kinds)
            change = getattr(self, kind)()
            if change is not None:
                return kind, change
        return "object_changed", self.object_changed()

    def _several(self) -> tuple[str, list[Change]]:
        """Draw what one transaction does."""
        drawn = [self._any() for _ in range(self.draw.choice([1, 1, 1, 2]))]
        return ", ".join(kind for kind, _ in drawn), [change for _, change in drawn]
