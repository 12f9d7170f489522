"""``media`` of ``POST /send/confirm``: the file or the place in the header of one message (api.md §5.2)."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from ..domain.media import FILES, MediaWish
from ..domain.text import T
from ..services import media
from .parsing import ApiModel, Wrong

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]


class MediaBody(ApiModel):
    """A file by its address, or a place by its coordinates."""

    kind: Literal["image", "video", "document", "location"]
    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    filename: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f/\\]{1,240}$")] | None = None
    optional: bool | None = None
    media_optional: bool | None = None
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    name: Words | None = None
    address: Words | None = None

    @model_validator(mode="after")
    def _whole(self) -> "MediaBody":
        place = (self.latitude, self.longitude)
        if self.kind in FILES:
            if self.url is None:
                raise Wrong("media_incomplete", T("A file needs its address in url."))
            if any(value is not None for value in (*place, self.name, self.address)):
                raise Wrong("media_incomplete", T("latitude, longitude, name and address belong to a location."))
        elif None in place:
            raise Wrong("media_incomplete", T("A location needs latitude and longitude."))
        elif self.url is not None or self.filename is not None:
            raise Wrong("media_incomplete", T("url and filename belong to a file, not to a location."))
        return self

    def wish(self) -> MediaWish:
        """The same for the services. Raises Invalid for an address we would not open."""
        if self.url is not None:
            media.check_link(self.url, "/media/url")
            optional = bool(self.optional or self.media_optional)
            return MediaWish(self.kind, self.url, self.filename or "", optional)
        said = {"latitude": _number(self.latitude), "longitude": _number(self.longitude)}
        words = {"name": self.name, "address": self.address}
        return MediaWish(self.kind, location=said | {key: value for key, value in words.items() if value})


def _number(value: float | None) -> str:
    return f"{value or 0.0:.7f}".rstrip("0").rstrip(".")
