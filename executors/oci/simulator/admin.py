"""The admin channel: order trouble, read the event log, put the clock ahead. On its own loopback port, unsigned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from executors.oci.simulator import tokens
from executors.oci.simulator.metadata import InstanceIdentity
from executors.oci.simulator.orders import TROUBLES, Order

if TYPE_CHECKING:
    from executors.oci.simulator.simulator import Simulator


def application(simulator: Simulator) -> Starlette:
    """The admin channel of a simulator."""
    routes = [Route(path, handler(simulator), methods=[method]) for method, path, handler in _ROUTES]
    return Starlette(routes=[*routes, *InstanceIdentity(simulator.cloud, simulator.credentials).routes()])


Handler = Callable[[Request], Awaitable[Response]]


def _answering(work: Callable[[Simulator, Any], Any]) -> Callable[[Simulator], Handler]:
    """A handler that takes and gives JSON; what cannot be done is 400 with the reason."""

    def handler(simulator: Simulator) -> Handler:
        async def handle(request: Request) -> Response:
            asked: Any = dict(request.query_params)
            try:
                if request.method == "POST" and await request.body():
                    asked = await request.json()
                if request.path_params:
                    asked.update(request.path_params)
                return JSONResponse(await run_in_threadpool(work, simulator, asked))
            except (KeyError, TypeError, ValueError) as error:
                return JSONResponse({"error": str(error)}, 400)

        return handle

    return handler


def _describe(simulator: Simulator, asked: Any) -> Any:
    return simulator.describe()


def _orders(simulator: Simulator, asked: Any) -> Any:
    return [asdict(order) for order in simulator.cloud.orders.open()]


def _order(simulator: Simulator, asked: Any) -> Any:
    order = Order(**asked)
    if order.trouble not in TROUBLES:
        raise ValueError(f"trouble must be one of {', '.join(TROUBLES)}, not {order.trouble!r}")
    simulator.order(order)
    return asdict(order)


def _clear(simulator: Simulator, asked: Any) -> Any:
    simulator.cloud.orders.clear()
    return []


def _effects(simulator: Simulator, asked: Any) -> Any:
    return [asdict(effect) for effect in simulator.effects(int(asked.get("after", 0)))]


def _fingerprint(simulator: Simulator, asked: Any) -> Any:
    return {"fingerprint": simulator.cloud.state.fingerprint()}


def _advance(simulator: Simulator, asked: Any) -> Any:
    simulator.advance(float(asked["seconds"]))
    return {"time": simulator.cloud.moment()}


def _ail(simulator: Simulator, asked: Any) -> Any:
    simulator.ail(asked.pop("resource"), asked.pop("kind"), **asked)
    return {}


def _heal(simulator: Simulator, asked: Any) -> Any:
    simulator.heal(asked["resource"], *asked.get("kinds", []))
    return {}


def _measure(simulator: Simulator, asked: Any) -> Any:
    simulator.measure(asked.pop("resource"), **asked)
    return {}


def _add_cluster(simulator: Simulator, asked: Any) -> Any:
    return {"id": simulator.add_cluster(**asked)}


def _review(simulator: Simulator, asked: Any) -> Any:
    found = simulator.credentials.find
    return tokens.review(asked["spec"]["token"], found, datetime.now(UTC), asked.get("cluster"))


def _commands(simulator: Simulator, asked: Any) -> Any:
    simulator.cloud.state.set_fact("commands", asked)
    return asked


def _behaviours(simulator: Simulator, asked: Any) -> Any:
    simulator.cloud.state.set_fact("behaviours", asked)
    return asked


_ROUTES = [
    ("GET", "/", _answering(_describe)),
    ("GET", "/orders", _answering(_orders)),
    ("POST", "/orders", _answering(_order)),
    ("DELETE", "/orders", _answering(_clear)),
    ("GET", "/effects", _answering(_effects)),
    ("GET", "/fingerprint", _answering(_fingerprint)),
    ("POST", "/advance", _answering(_advance)),
    ("POST", "/ailments", _answering(_ail)),
    ("POST", "/heal", _answering(_heal)),
    ("POST", "/behaviours", _answering(_behaviours)),
    ("POST", "/measurements", _answering(_measure)),
    ("POST", "/clusters", _answering(_add_cluster)),
    ("POST", "/tokenreviews", _answering(_review)),
    ("POST", "/tokenreviews/{cluster}", _answering(_review)),
    ("POST", "/commands", _answering(_commands)),
]
