"""What is wrong with a call, as JSON: one shape for every route, the one that OpenAI's clients understand.

{"error": {"message": "...", "type": "invalid_request_error", "param": "steps", "code": "bad_field"}}

A message says what to mend; no stack, path or prompt is in any of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from facefact.types import UserError

log = logging.getLogger("facefact.service")

CODES = {
    400: "bad_request",
    401: "no_key",
    403: "forbidden",
    404: "not_found",
    405: "bad_method",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "bad_media_type",
    429: "busy",
}


class Error(BaseModel):
    """message: one line for people. type: the kind, as OpenAI names it. param: the field that is meant. code: for
    programs."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Problem(BaseModel):
    """Any answer that is not what was asked for."""

    error: Error


class ApiError(Exception):
    """An answer with a status from 400 on. headers: besides those that every answer has."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param
        self.code = code or CODES.get(status, "error")
        self.headers = dict(headers or {})


def too_busy(message: str, seconds: float) -> ApiError:
    """429. seconds: after which a new attempt makes sense."""
    return ApiError(429, message, code="queue_full", headers={"Retry-After": str(max(1, round(seconds)))})


def answer(error: ApiError) -> JSONResponse:
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(error.status)
    kind = kind or ("invalid_request_error" if error.status < 500 else "server_error")
    body = Problem(error=Error(message=error.message, type=kind, param=error.param, code=error.code))
    return JSONResponse(body.model_dump(), status_code=error.status, headers=error.headers)


def of_fields(error: ValidationError | RequestValidationError) -> ApiError:
    """The first field that is not as it should be; what was sent is not repeated."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    name = ".".join(where) or None
    line = str(first["msg"]).removeprefix("Value error, ")
    return ApiError(400, f"{name}: {line}" if name else line, param=name, code="bad_field")


def add_handlers(app: FastAPI) -> None:
    """Every error of the app becomes a Problem."""

    async def ours(request: Request, error: Any) -> Response:
        return answer(error)

    async def fields(request: Request, error: Any) -> Response:
        return answer(of_fields(error))

    async def http(request: Request, error: Any) -> Response:
        words = {404: "there is no such address here; see /docs", 405: "this address does not know that method"}
        headers = getattr(error, "headers", None)
        return answer(ApiError(error.status_code, words.get(error.status_code, str(error.detail)), headers=headers))

    async def users(request: Request, error: Any) -> Response:
        return answer(ApiError(400, str(error)))

    async def anything(request: Request, error: Any) -> Response:
        log.error("%s %s failed", request.method, request.scope.get("path"), exc_info=error)
        return answer(ApiError(500, "something went wrong in the service; its log says what", code="internal"))

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(RequestValidationError, fields)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(UserError, users)
    app.add_exception_handler(Exception, anything)
