"""RO | EN: the switch at the foot of every page."""

from flask import Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from ..services import tenants
from . import local_path, web
from .access import whoever
from .i18n import LANGUAGES, remember_language


@web.post("/language")
def switch_language() -> BaseResponse:
    """Remember ``language`` in this browser and for whoever is signed in; go back to ``next``, a path of this site."""
    answer: BaseResponse = redirect(local_path(request.form.get("next"), "/"), code=303)
    chosen = request.form.get("language", "")
    if chosen in LANGUAGES and isinstance(answer, Response):
        remember_language(answer, chosen)
        found = whoever()
        if found is not None:
            tenants.set_locale(found.user.id, chosen)
    return answer
