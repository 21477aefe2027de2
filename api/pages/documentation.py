"""Owns GET /docs: Swagger UI, from the files that fastapi-offline brings along."""

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from api.security.headers import POLICY, page_policy

ASSETS = "/static-offline-docs"
PARAMETERS = {"tryItOutEnabled": True, "displayRequestDuration": True, "defaultModelsExpandDepth": 0}


def documentation_routes(title: str) -> APIRouter:
    """Build the route."""
    router = APIRouter()

    @router.get("/docs", include_in_schema=False)
    async def documentation(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title=title,
            swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
            swagger_ui_parameters=PARAMETERS,
        )
        page.headers[POLICY] = page_policy(bytes(page.body).decode())
        return page

    return router
