"""What the routes of several faces share: errors in the face's own format, and the refusal to make
pictures from text.

Knows no particular API: each face passes in how it formats errors.
"""

from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from api.jobs.waiting import CallerLeft
from api.wire.errors import InvalidFields, language_of
from api.wire.problems import FieldProblem
from api.wire.wording import field_problems
from shared.errors import RetouchError
from shared.messages import Language

CLIENT_CLOSED_REQUEST = 499


class DialectRoute(APIRoute):
    """A route whose errors are in the format that `refused` returns."""

    @staticmethod
    @abstractmethod
    def refused(request: Request, error: RetouchError) -> Response:
        """The answer to a request that ended in this error."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except CallerLeft:
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            except RequestValidationError as error:
                fields = field_problems(error.errors(), language_of(request), skip=1)
                return self.refused(request, InvalidFields(fields))
            except RetouchError as error:
                return self.refused(request, error)

        return handled


def no_picture_from_words(pointer: str, instead: str, language: Language) -> InvalidFields:
    """The refusal to make a picture from text alone; `instead` is the route that takes photos."""
    detail = {
        "en": f"is missing: retouch makes photos better and none from words alone; send one to "
        f"{instead}",
        "zh": f"缺少图片：retouch 只改善已有的照片，不凭文字生成；请将照片发送到 {instead}",
    }
    return InvalidFields([FieldProblem(pointer=pointer, detail=detail[language])])
