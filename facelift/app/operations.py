"""What the tools of whoever runs the server ask it: whether it lives, whether it is ready, its numbers."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from facelift.app.options import Health

router = APIRouter(tags=["server"])


@router.get("/health")
async def health(request: Request) -> Health:
    """Whether the server works, and how long its queue is. It answers 200 as long as it answers at all."""
    state = request.app.state
    queue = state.heads.queue
    waiting, running = queue.lengths
    lengths = {"waiting": waiting, "running": running}
    if queue.closed:
        return Health(status="stopping", **lengths)
    return Health(status="ok" if state.workers.alive else "restarting", **lengths)


@router.get("/ready", responses={503: {"model": Health, "description": "Send visitors elsewhere."}})
async def ready(request: Request, response: Response) -> Health:
    """Whether it takes photos: its workers live, its queue has room, and nobody has told it to stop."""
    told = await health(request)
    if told.status != "ok" or told.waiting >= request.app.state.heads.queue.limit:
        response.status_code = 503
    return told


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    return Response(request.app.state.metrics.page(), media_type=CONTENT_TYPE_LATEST)
