"""Where HTTP requests arrive: checked, routed, handled; what is raised becomes a problem document."""

from collections.abc import Mapping, Sequence

from apex_fast.errors import ApexError, NotFound
from apex_fast.gateway.faults import fault_of
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.http import later, openapi
from apex_fast.gateway.http.approvals import ApprovalRoutes
from apex_fast.gateway.http.blobs import BlobRoutes
from apex_fast.gateway.http.control import ControlRoutes
from apex_fast.gateway.http.definitions import DefinitionRoutes
from apex_fast.gateway.http.drawings import DrawingRoutes
from apex_fast.gateway.http.envelopes import EnvelopeRoutes
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.operations import OperationRoutes
from apex_fast.gateway.http.patch_sets import PatchSetRoutes
from apex_fast.gateway.http.patches import PatchRoutes
from apex_fast.gateway.http.replays import ReplayRoutes
from apex_fast.gateway.http.route import Route, Router, allowed, params_of
from apex_fast.gateway.http.runs import RunRoutes
from apex_fast.gateway.http.schedules import ScheduleRoutes
from apex_fast.gateway.http.suggestions import SuggestionRoutes
from apex_fast.gateway.http.troubles import TroubleRoutes


class HttpDesk:
    """The HTTP half of the front desk."""

    def __init__(
        self,
        house: House,
        runs: RunRoutes,
        definitions: DefinitionRoutes,
        approvals: ApprovalRoutes,
        schedules: ScheduleRoutes,
        envelopes: EnvelopeRoutes,
        histories: Histories,
        version: str,
    ) -> None:
        self._house = house
        self._version = version
        self._document: bytes | None = None
        routes: Sequence[Route] = [
            *envelopes.routes(),
            *runs.routes(),
            *ReplayRoutes(house, histories).routes(),
            *ControlRoutes(house, histories).routes(),
            *PatchRoutes(house, histories).routes(),
            *definitions.routes(),
            *SuggestionRoutes(house).routes(),
            *PatchSetRoutes(house).routes(),
            *approvals.routes(),
            *schedules.routes(),
            *TroubleRoutes(house, histories).routes(),
            *BlobRoutes(house).routes(),
            *DrawingRoutes(house, histories).routes(),
            *OperationRoutes(house, self.document).routes(),
            *later.routes(),
        ]
        self.router = Router(routes)

    def document(self) -> bytes:
        """The OpenAPI description; made when it is first asked for."""
        if self._document is None:
            self._document = openapi.document(self.router.routes, self._version)
        return self._document

    def handle(self, token: int, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> None:
        """One request, answered now or later."""
        house = self._house
        try:
            house.hosts.admit(method, headers)
            rows = self.router.find(path)
            if rows is None:
                if method == "OPTIONS" and path == "*":
                    house.outbox.http(token, 204, [("allow", "DELETE, GET, HEAD, OPTIONS, POST, PUT")], b"")
                    return
                raise NotFound(f"there is no route {path[:128]!r}; see /openapi.json", code="ROUTE_NOT_FOUND")
            if method == "OPTIONS":
                house.outbox.http(token, 204, [("allow", allowed(rows))], b"")
                return
            head = method == "HEAD"
            route = rows.get("GET" if head else method)
            if route is None:
                error = ApexError(f"{path[:128]} does not take {method[:32]}", code="METHOD_NOT_ALLOWED")
                house.outbox.http_error(token, error, [("allow", allowed(rows))])
                return
            route.handler(Exchange(house, token, path, query, headers, body, params_of(route, path), head))
        except Exception as error:
            fault = fault_of(error)
            house.outbox.http_error(token, fault)
