"""The service's access policy: beyond this machine a key is required, but for the page."""

from pillsnap.service.bodies import problem
from pillsnap.web.guard import PAGE, Policy

POLICY = Policy(
    server="service",
    variable="PILLSNAP_API_KEY",
    credentials="A key is needed: Authorization: Bearer <key>, or X-API-Key: <key>.",
    refuse=problem,
    open_paths=frozenset({"/", PAGE, "/openapi.json"}),
    any_name=True,
)
