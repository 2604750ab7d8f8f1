"""What runs beside a GPU. Started as a process (`hotset worker`, `celery -A hotset_worker worker`), never imported.

`app` is made at first use: importing a part of this package reads no settings.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("app", "celery"):
        from hotset_worker.app import app

        return app
    raise AttributeError(name)
