"""What a warm application answers, compared with one without a cache.

`RULES` is all that may differ.
"""

import gzip
from collections import Counter
from collections.abc import Iterator
from typing import Any

from werkzeug.http import parse_cache_control_header, parse_date

from drawn_requests import Answer, Asked, Pair
from many_routes import FILLER

RULES = {
    "per response": "Age, Cache-Status, Date, X-Request-ID, ETag and Last-Modified may differ.",
    "cache-control": "Where a cached view says no Cache-Control, the cache says its own, once.",
    "not public": "The cache may replace public and s-maxage by private.",
    "vary": "The cache adds to Vary what the view declares, and Cookie for private pages.",
    "compressed": "The cache may compress a body, and says so; it is compared decompressed.",
    "condition": "Of a success of a cached view, the cache answers the conditions by its ETag.",
    "session cookie": "A signed session holds the time at which it was signed.",
}

IGNORED = {"age", "cache-status", "date", "x-request-id", "etag", "last-modified"}

#: What describes a body, and is missing where a 304 or 412 has none.
OF_A_BODY = {"content-length", "content-type", "content-encoding", "content-language"}


def compare(pair: Pair, asked: Asked, warm_app: Any) -> None:
    """Send a request to both applications, and note each difference that no rule allows.

    :param warm_app: the warm application, or a cache in front of it.
    """
    cold = pair.ask(pair.cold, asked)
    unconditional = asked.without_conditions()
    plain = pair.ask(pair.warm, unconditional) if unconditional != asked else None
    for turn in ("first", "second"):
        warm = pair.ask(warm_app, asked)
        count(pair, warm)
        for kind in differences(pair, asked, warm, cold, plain):
            pair.differences.setdefault(
                (asked.path, kind),
                f"{kind}, {turn} answer to {asked}\n"
                f"  warm {warm.status} {list(warm.headers)} {shown(warm)!r}\n"
                f"  cold {cold.status} {list(cold.headers)} {shown(cold)!r}",
            )
        etag = warm.headers.get("ETag")
        if etag and etag not in pair.etags.setdefault(asked.path, []):
            pair.etags[asked.path].append(etag)


def count(pair: Pair, warm: Answer) -> None:
    pair.counts["answers"] += 1
    if warm.is_hit:
        pair.counts["hits"] += 1


def shown(answer: Answer) -> bytes:
    return decompressed(answer).replace(FILLER.encode(), b"...")[:300]


def decompressed(answer: Answer) -> bytes:
    if answer.headers.get("Content-Encoding") == "gzip" and answer.body:
        return gzip.decompress(answer.body)
    return answer.body


def differences(
    pair: Pair, asked: Asked, warm: Answer, cold: Answer, plain: Answer | None
) -> Iterator[str]:
    """Yield what differs, in a word or two."""
    is_cached = asked.route is not None and asked.route.options is not None
    yield from forbidden(warm, cold, asked)
    if not is_named_once(pair, asked, warm):
        yield "one strong ETag of two bodies"
    by_condition = is_cached and plain is not None and condition_allows(asked, plain, warm.status)
    if warm.status != cold.status or (by_condition and warm.status != plain.status):
        if not by_condition:
            yield f"status {warm.status} for {cold.status}"
            return
        pair.used["condition"] += 1
        expected = decompressed(plain) if warm.status == plain.status else b""
        if decompressed(warm) not in (expected, cold.body):
            yield f"body of a {warm.status}"
        yield from headers_differ(pair, asked, warm, cold, bodiless=True)
        return
    if plain is not None and is_cached and must_differ(asked, plain, cold):
        yield f"condition ignored by a {cold.status}"
    if decompressed(warm) != cold.body:
        yield "body"
    yield from headers_differ(pair, asked, warm, cold, bodiless=False)


def forbidden(warm: Answer, cold: Answer, asked: Asked) -> Iterator[str]:
    """Yield what must not be, however equal the answers are."""
    control = ", ".join(warm.headers.getlist("Cache-Control")).lower()
    if "Set-Cookie" in warm.headers and ("public" in control or "s-maxage" in control):
        yield "public with Set-Cookie"
    if not warm.is_hit:
        return
    said = ", ".join(cold.headers.getlist("Cache-Control")).lower()
    if "no-store" in said or "private" in said:
        yield "hit of a response that says no-store or private"
    if "*" in ", ".join(cold.headers.getlist("Vary")):
        yield "hit of a response that varies by *"
    if asked.method not in ("GET", "HEAD"):
        yield f"hit of a {asked.method}"


def is_named_once(pair: Pair, asked: Asked, warm: Answer) -> bool:
    """Tell whether a strong ETag stands for the same bytes as before (RFC 9110, 8.8.1)."""
    etag = warm.headers.get("ETag", "")
    if warm.status != 200 or asked.method != "GET" or not etag.startswith('"'):
        return True
    where = (asked.scheme, asked.host, asked.root, asked.path, asked.query, etag)
    return pair.named.setdefault(where, warm.body) == warm.body


def condition_allows(asked: Asked, plain: Answer, status: int) -> bool:
    """Tell whether a status may stand in the place of a success (RFC 9110, 13.2.2)."""
    return 200 <= plain.status < 300 and status == conditional_status(asked, plain)


def must_differ(asked: Asked, plain: Answer, cold: Answer) -> bool:
    """Tell whether a hit left a condition out that its validators answer otherwise."""
    if not plain.is_hit or not 200 <= plain.status < 300:
        return False
    return conditional_status(asked, plain) != cold.status


def conditional_status(asked: Asked, plain: Answer) -> int:
    """Evaluate the conditions by the validators of the warm answer without them."""
    said, etag = dict(asked.headers), plain.headers.get("ETag", "")
    modified, dates = parse_date(plain.headers.get("Last-Modified")), said.copy()
    if asked.method not in ("GET", "HEAD"):
        return plain.status
    if (listed := said.get("If-Match")) is not None:
        if listed != "*" and not is_listed(etag, listed, weakly=False):
            return 412
    elif modified and (since := parse_date(dates.get("If-Unmodified-Since"))) and modified > since:
        return 412
    if (listed := said.get("If-None-Match")) is not None:
        matched = is_listed(etag, listed, weakly=True)
        return 304 if listed == "*" or matched else plain.status
    if modified and (since := parse_date(dates.get("If-Modified-Since"))) and modified <= since:
        return 304
    return plain.status


def is_listed(etag: str, listed: str, *, weakly: bool) -> bool:
    """Compare with each member; drawn tags have no comma but in one, which is nobody's."""
    members = [member.strip() for member in listed.split(",")]
    if weakly:
        etag, members = etag.removeprefix("W/"), [each.removeprefix("W/") for each in members]
    return etag.startswith('"') and etag in members


def headers_differ(
    pair: Pair, asked: Asked, warm: Answer, cold: Answer, *, bodiless: bool
) -> Iterator[str]:
    skipped = set(IGNORED) | {"cache-control", "vary", "set-cookie"}
    if warm.headers.get("Content-Encoding") != cold.headers.get("Content-Encoding"):
        pair.used["compressed"] += 1
        skipped |= {"content-encoding", "content-length"}
        if not {"accept-encoding", "*"} & vary_of(warm):
            yield "compressed without Vary"
    skipped |= OF_A_BODY if bodiless else set()
    ours, theirs = (
        Counter((name, value) for name, value in answer.headers if name.lower() not in skipped)
        for answer in (warm, cold)
    )
    for name in sorted({name for name, _ in [*ours, *theirs]}):
        if [pair for pair in ours if pair[0] == name] != [
            pair for pair in theirs if pair[0] == name
        ]:
            yield f"header {name}"
    yield from cookies_differ(pair, warm, cold)
    if warm.status == 412 != cold.status:
        return  # It may not be kept, and has neither.
    yield from control_differs(pair, asked, warm, cold)
    yield from vary_differs(pair, asked, warm, cold)


def cookies_differ(pair: Pair, warm: Answer, cold: Answer) -> Iterator[str]:
    ours, theirs = (answer.headers.getlist("Set-Cookie") for answer in (warm, cold))
    if ours != theirs:
        pair.used["session cookie"] += 1
        ours, theirs = (
            [f.partition(";")[2] if f.startswith("session=") else f for f in fields]
            for fields in (ours, theirs)
        )
    if ours != theirs:
        yield "header Set-Cookie"


def control_differs(pair: Pair, asked: Asked, warm: Answer, cold: Answer) -> Iterator[str]:
    ours, theirs = (
        dict(parse_cache_control_header(", ".join(answer.headers.getlist("Cache-Control"))))
        for answer in (warm, cold)
    )
    if ours == theirs:
        return
    if not theirs and asked.route is not None and asked.route.options is not None:
        pair.used["cache-control"] += 1
        if len(warm.headers.getlist("Cache-Control")) > 1:
            yield "two fields Cache-Control"
        return
    for name in ("public", "s-maxage"):
        theirs.pop(name, None)
    if "private" in ours and ours == {**theirs, "private": ours["private"]}:
        pair.used["not public"] += 1
        return
    yield "header Cache-Control"


def vary_differs(pair: Pair, asked: Asked, warm: Answer, cold: Answer) -> Iterator[str]:
    ours, theirs = vary_of(warm), vary_of(cold)
    options = (asked.route.options if asked.route else None) or {}
    allowed = {name.lower() for name in options.get("vary", ())} | {"accept-encoding"}
    allowed |= {"cookie", "authorization"} if options.get("private") else set()
    if ours == theirs:
        return
    if theirs <= ours and ours - theirs <= allowed:
        pair.used["vary"] += 1
        return
    yield "header Vary"


def vary_of(answer: Answer) -> set[str]:
    members = ",".join(answer.headers.getlist("Vary")).lower().split(",")
    return {member.strip() for member in members} - {""}


def report(pair: Pair) -> None:
    print(f"{pair.counts['answers']} answers, {pair.counts['hits']} of them hits")
    for name, rule in RULES.items():
        print(f"{pair.used.get(name, 'all' if name == 'per response' else 0)} times: {rule}")
