"""How does `responder` live in other people's frameworks? One file a framework, imported by its users only.

Importing this package imports no framework, and the core depends on none. The files that know no framework: `sse.py` and
`chunks.py` (a stream on its way to a browser), `public.py` (what a browser learns of a failure), `wsgi.py` (what a WSGI server
tells about its client), `registry.py` (responders made once a process) and `tasks.py` (a shard of prompts as one task).
"""

from __future__ import annotations


def missing(framework: str, extra: str) -> ImportError:
    """Return the error for a framework that is not installed; its message says what to type.

    Args:
        framework: The framework's name, for people.
        extra: The extra of our distribution that installs it.
    """
    return ImportError(f'{framework} is not installed: pip install "responder-sdk[{extra}]"')
