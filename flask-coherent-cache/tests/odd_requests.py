"""What clients send, odd and hostile: pieces of bytes, in which PATH stands for a path."""

ODD_REQUESTS: dict[str, tuple[bytes, ...]] = {
    "get": (b"GET PATH HTTP/1.1\r\nHost: a\r\n\r\n",),
    "head": (b"HEAD PATH HTTP/1.1\r\nHost: a\r\n\r\n",),
    "close": (b"GET PATH HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",),
    "keep-alive": (b"GET PATH HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n",),
    "both connections": (b"GET PATH HTTP/1.1\r\nHost: a\r\nConnection: close, keep-alive\r\n\r\n",),
    "http/1.0": (b"GET PATH HTTP/1.0\r\nHost: a\r\n\r\n",),
    "http/1.0 keep-alive": (b"GET PATH HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",),
    "http/0.9": (b"GET PATH\r\n",),
    "http/0.9 with an empty line": (b"GET PATH\r\n\r\n",),
    "http/2.0": (b"GET PATH HTTP/2.0\r\nHost: a\r\n\r\n",),
    "http/1.1 without a host": (b"GET PATH HTTP/1.1\r\n\r\n",),
    "two hosts": (b"GET PATH HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",),
    "preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",),
    "h2c": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ),
    "websocket": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
    "pipelined": (b"GET PATH HTTP/1.1\r\nHost: a\r\n\r\nGET /plain HTTP/1.1\r\nHost: a\r\n\r\n",),
    "pipelined thrice": (b"GET PATH HTTP/1.1\r\nHost: a\r\n\r\n" * 3,),
    "pipelined in pieces": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\n\r\nGET PA",
        b"TH HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "byte by byte": tuple(
        bytes([byte]) for byte in b"GET PATH HTTP/1.1\r\nHost: a\r\n\r\n".replace(b"PATH", b"/page")
    ),
    "in pieces": (b"GET PATH HT", b"TP/1.1\r\nHo", b"st: a\r\n\r", b"\n"),
    "half": (b"GET PATH HTTP/1.1\r\nHos",),
    "half of the end": (b"GET PATH HTTP/1.1\r\nHost: a\r\n\r",),
    "nothing": (),
    "an empty line before": (b"\r\nGET PATH HTTP/1.1\r\nHost: a\r\n\r\n",),
    "two empty lines before": (b"\r\n\r\nGET PATH HTTP/1.1\r\nHost: a\r\n\r\n",),
    "bare lf": (b"GET PATH HTTP/1.1\nHost: a\n\n",),
    "bare lf in a header": (b"GET PATH HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",),
    "bare cr": (b"GET PATH HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",),
    "nul": (b"GET PATH HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",),
    "folded": (b"GET PATH HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",),
    "space before the colon": (b"GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length : 0\r\n\r\n",),
    "underscore": (b"GET PATH HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: b\r\n\r\n",),
    "no colon": (b"GET PATH HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",),
    "length and chunks": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n",
    ),
    "two lengths": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n12345",
    ),
    "a list of lengths": (b"GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",),
    "a signed length": (b"GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",),
    "no length at all": (b"GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",),
    "body": (b"GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345",),
    "body later": (b"GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", b"12345"),
    "body that smuggles": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n",
        b"GET /plain HTTP/1.1\r\nHost: smuggled\r\n\r\n",
    ),
    "body that ends the piece": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
    ),
    "body missing": (b"GET PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12",),
    "chunks": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\n12345\r\n0\r\n\r\n",
    ),
    "chunks later": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\n12345\r\n0\r\n\r\nGET /plain HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "chunk of a wrong size": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"z\r\n12345\r\n0\r\n\r\n",
    ),
    "chunks twice": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    "chunks hidden": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    "identity": (b"GET PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",),
    "expect": (b"GET PATH HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",),
    "expect with a body": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        b"12",
    ),
    "expect the unknown": (b"GET PATH HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n",),
    "options": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",),
    "asterisk": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",),
    "absolute": (b"GET http://aPATH HTTP/1.1\r\nHost: a\r\n\r\n",),
    "absolute of another host": (b"GET http://bPATH HTTP/1.1\r\nHost: a\r\n\r\n",),
    "authority": (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",),
    "connect": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\nGET PATH HTTP/1.1\r\nHost: a\r\n\r\n",),
    "post": (b"POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",),
    "lower case": (b"get PATH HTTP/1.1\r\nHost: a\r\n\r\n",),
    "two spaces": (b"GET  PATH HTTP/1.1\r\nHost: a\r\n\r\n",),
    "query": (b"GET PATH?a=b HTTP/1.1\r\nHost: a\r\n\r\n",),
    "fragment": (b"GET PATH#a HTTP/1.1\r\nHost: a\r\n\r\n",),
    "escaped": (b"GET PATH%3f HTTP/1.1\r\nHost: a\r\n\r\n",),
    "not ascii": (b"GET PATH\xff HTTP/1.1\r\nHost: a\r\n\r\n",),
    "script name": (b"GET PATH HTTP/1.1\r\nHost: a\r\nSCRIPT_NAME: /page\r\n\r\n",),
    "proxied": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"
        b"Forwarded: for=10.0.0.1\r\n\r\n",
    ),
    "proxy protocol": (
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET PATH HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "tls": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",),
    "a long line": (b"GET PATH?" + b"a" * 8190 + b" HTTP/1.1\r\nHost: a\r\n\r\n",),
    "a long header": (b"GET PATH HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n",),
    "many headers": (b"GET PATH HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 101 + b"\r\n",),
    "a head of 8192 bytes": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nX: ".replace(b"PATH", b"/page")
        + b"a" * (8192 - 36)
        + b"\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "condition": (b'GET PATH HTTP/1.1\r\nHost: a\r\nIf-None-Match: "ETAG"\r\n\r\n',),
    "range": (b"GET PATH HTTP/1.1\r\nHost: a\r\nRange: bytes=0-3\r\n\r\n",),
    "gzip": (b"GET PATH HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n",),
    "authorized": (b"GET PATH HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\n\r\n",),
    "cookies": (b"GET PATH HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n",),
}
