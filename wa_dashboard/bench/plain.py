"""The baseline everybody would write first: threads with a ``requests.Session`` each, and no database."""

import itertools
import json
import threading
import time
from typing import Any

import requests

from .ceiling import sample_request


def loop(port: int, threads: int, count: int) -> dict[str, Any]:
    """Post ``count`` sends with so many threads; wall and CPU seconds."""
    base = f"http://127.0.0.1:{port}"
    numbers = itertools.count()
    failed: list[str] = []

    def work() -> None:
        request = sample_request(base)
        sample, headers = json.loads(request.body), dict(request.headers)
        with requests.Session() as session:
            while (number := next(numbers)) < count:
                body = {**sample, "biz_opaque_callback_data": f"msg_{number:026d}.1"}
                answer = session.post(request.url, json=body, headers=headers, timeout=30)
                if "messages" not in answer.json():
                    failed.append(answer.text)

    began, cpu = time.monotonic(), time.process_time()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"wall": time.monotonic() - began, "cpu": time.process_time() - cpu, "failed": len(failed)}
