"""How does `responder` work in other people's frameworks? One file per framework, imported only by its users.

Importing this package imports no framework; the core depends on none. Files without a framework: `sse.py` and
`chunks.py` (a stream on its way to a browser), `public.py` (what a browser is told of a failure), `wsgi.py` (what a WSGI server
knows about its client), `registry.py` (responders made once a process), `tasks.py` (a shard of prompts as one task) and
`collected.py` (what the tasks bring home).
"""

from __future__ import annotations


def missing(framework: str, extra: str) -> ImportError:
    """Return the error for a framework that is not installed; its message says what to type.

    Args:
        framework: The framework's name, for people.
        extra: The extra of our distribution that installs it.
    """
    return ImportError(f'{framework} is not installed: pip install "responder-sdk[{extra}]"')
