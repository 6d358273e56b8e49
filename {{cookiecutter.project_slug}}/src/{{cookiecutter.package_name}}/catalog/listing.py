"""Which products a request for a list asks for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from . import queries

#: The query parameters that a list understands; the cache's keys hold these and no others.
PARAMETERS = ("page", "sort", "category")
_DEFAULTS = (1, queries.DEFAULT_SORT)
_PAGE = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a sorted list; ``category`` is a slug, or ``None`` for all."""

    page: int
    pages: int
    total: int
    sort: str
    category: queries.CategoryData | None

    def products(self) -> tuple[queries.ProductData, ...]:
        return queries.products(self.page, self.sort, self.category.id if self.category else None)

    def query(self, page: int = 1, sort: str | None = None) -> dict[str, str | int]:
        """The shortest query for a page of this list: one address a page is one entry a page."""
        category = self.category.slug if self.category else None
        query = {"category": category, "sort": sort or self.sort, "page": page}
        return {name: value for name, value in query.items() if value and value not in _DEFAULTS}

    def nearby_pages(self) -> list[int]:
        """The pages to link to: the ends and the neighbours, with a 0 for each gap."""
        near = {1, self.page - 1, self.page, self.page + 1, self.pages}
        shown = sorted(page for page in near if 1 <= page <= self.pages)
        return [
            number
            for before, page in zip([0, *shown], shown, strict=False)
            for number in ([0, page] if page > before + 1 else [page])
        ]


def parse(args: Mapping[str, str]) -> tuple[Listing | None, dict[str, str]]:
    """Read a list's query parameters: return the listing, or what is wrong by parameter.

    It needs the memoized categories only, so made-up values cost no query. Views store no answer
    to them, so they cost no entry either.
    """
    errors: dict[str, str] = {}
    known = {category.slug: category for category in queries.categories()}
    slug = args.get("category")
    category = known.get(slug or "")
    if slug is not None and category is None:
        errors["category"] = "is not a category"
    sort = args.get("sort", queries.DEFAULT_SORT)
    if sort not in queries.SORTS:
        errors["sort"] = f"is not one of {', '.join(queries.SORTS)}"
    total = queries.count(category.id if category else None)
    pages = max(1, -(-total // queries.PAGE_SIZE))
    number = args.get("page", "1")
    if not _PAGE.fullmatch(number):
        errors["page"] = "is not a whole number from 1"
    elif "category" not in errors and int(number) > pages:
        errors["page"] = f"is past the last page, {pages}"
    if errors:
        return None, errors
    return Listing(int(number), pages, total, sort, category), {}
