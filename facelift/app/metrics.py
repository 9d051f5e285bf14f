"""Numbers for Prometheus: the queue, the seconds of each stage, what failed and why."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from facelift.app.queue import Task, TaskQueue
from facelift.app.workers import Workers

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)
"""Bounds of the histogram: FaceLift's own weights take half an hour on a CPU."""


class Metrics:
    """What one server counts, from its start on.

    Args:
        queue: of its tasks.
        workers: which do them.
    """

    def __init__(self, queue: TaskQueue, workers: Workers) -> None:
        self._registry = registry = CollectorRegistry()
        waiting = Gauge("facelift_queue_waiting", "Tasks that wait.", registry=registry)
        waiting.set_function(lambda: queue.lengths[0])
        running = Gauge("facelift_queue_running", "Tasks that workers have.", registry=registry)
        running.set_function(lambda: queue.lengths[1])
        alive = Gauge("facelift_workers_alive", "Whether all workers live.", registry=registry)
        alive.set_function(lambda: workers.alive)
        self._tasks = Counter(
            "facelift_tasks", "Tasks that are over, by kind and state.", ["kind", "state"], registry=registry
        )
        self._failures = Counter(
            "facelift_failures",
            "Tasks that failed, by stage and cause: refused is the photo's fault, and fault the program's.",
            ["stage", "cause"],
            registry=registry,
        )
        self._seconds = Histogram(
            "facelift_stage_seconds", "Seconds of a stage.", ["stage"], registry=registry, buckets=SECONDS
        )
        ProcessCollector(registry=registry)
        queue.listeners.append(self.count)

    def count(self, task: Task) -> None:
        """A task is over."""
        self._tasks.labels(task.kind, task.state).inc()
        for stage, seconds in task.seconds.items():
            self._seconds.labels(stage).observe(seconds)
        if task.state == "failed":
            self._failures.labels(task.stage or "none", task.cause or "fault").inc()

    def page(self) -> bytes:
        """All numbers, in Prometheus's text format."""
        return generate_latest(self._registry)
